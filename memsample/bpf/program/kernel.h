// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// The structures of the kernel that the programs read, and of each only the members that they read.
//
// Offsets and types are not those that stand here: the kernel finds each member by its name in its own BTF when it
// loads the program (CO-RE), and refuses the program where it has no member of that name and kind.
#pragma once

typedef _Bool bool;
#define true 1
#define false 0
typedef unsigned char u8;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;

// libbpf's headers want these names.
typedef u8 __u8;
typedef unsigned short __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef s32 __s32;
typedef s64 __s64;
typedef __u16 __be16;
typedef u32 __be32;
typedef u32 __wsum;

#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_F_MMAPABLE (1U << 10)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pid_namespace;
struct css_set;

struct list_head {
	struct list_head *next;
	struct list_head *prev;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[];
};

// The parts of a per-CPU counter. Since Linux 6.2 `rss_stat` is an array of these.
struct percpu_counter {
	// 0 while nobody moves the part of a CPU into `count`.
	struct {
		struct {
			struct {
				int counter;
			} val;
		} raw_lock;
	} lock;
	s64 count;
	s32 *counters;
};

struct mm_struct {
	unsigned long total_vm;
	unsigned long data_vm;
	unsigned long exec_vm;
	unsigned long stack_vm;
	unsigned long hiwater_rss;
	unsigned long start_code;
	unsigned long end_code;
	unsigned long start_stack;
	struct {
		s64 counter;
	} pgtables_bytes;
	struct percpu_counter rss_stat[4];
	// Only with CONFIG_HUGETLB_PAGE.
	struct {
		s64 counter;
	} hugetlb_usage;
};

// `mm_struct` before Linux 6.2.
struct mm_struct___plain {
	struct {
		struct {
			s64 counter;
		} count[4];
	} rss_stat;
};

// `mm_struct` where `rss_stat` is an array of trees, as proposed: the parts of the CPUs, whose sum
// and `bias` are the number.
struct mm_struct___tree {
	struct {
		u32 *level0;
		int bias;
	} rss_stat[4];
};

struct prev_cputime {
	u64 utime;
	u64 stime;
};

struct signal_struct {
	int nr_threads;
	struct list_head thread_head;
	struct pid *pids[4];
	// Odd, or another than before, while a thread that ends adds what it used to what is below.
	struct {
		struct {
			struct {
				unsigned int sequence;
			} seqcount;
		} seqcount;
	} stats_lock;
	struct prev_cputime prev_cputime;
	u64 utime;
	u64 stime;
	u64 sum_sched_runtime;
	unsigned long min_flt;
	unsigned long maj_flt;
	unsigned long maxrss;
};

struct cred {
	struct {
		unsigned int val;
	} euid;
};

struct sched_entity {
	u64 sum_exec_runtime;
};

struct task_struct {
	unsigned int __state;
	unsigned int flags;
	int exit_state;
	int pid;
	int tgid;
	struct list_head tasks;
	struct list_head thread_node;
	struct sched_entity se;
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	const struct cred *real_cred;
	struct css_set *cgroups;
	struct signal_struct *signal;
	u64 utime;
	u64 stime;
	u64 start_time;
	u64 start_boottime;
	unsigned long min_flt;
	unsigned long maj_flt;
	char comm[16];
};

// A structure that begins with an int, through which the part of one CPU is read.
struct refcount_struct {
	struct {
		int counter;
	} refs;
};

struct bpf_array {
	void *pptrs[0];
};

// What the kernel hands over with each task.
struct bpf_iter__task {
	struct task_struct *task;
};

#pragma clang attribute pop

// The kernel's iterator over numbers, which is opaque.
struct bpf_iter_num {
	u64 opaque[1];
} __attribute__((aligned(8)));
