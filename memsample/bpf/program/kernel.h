// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// The structures of the kernel that walk.bpf.c reads, and of each only the members that it reads.
//
// Offsets and types are not those that stand here: the kernel finds each member by its name in its own BTF when it
// loads the program (CO-RE), and refuses the program where it has no member of that name and kind.
#pragma once

typedef _Bool bool;
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
#define BPF_F_MMAPABLE (1U << 10)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pid_namespace;

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[];
};

// The parts of a per-CPU counter. Since Linux 6.2 `rss_stat` is an array of these; where it is something else the
// program is refused.
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

struct prev_cputime {
	u64 utime;
	u64 stime;
};

struct signal_struct {
	int nr_threads;
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
	struct sched_entity se;
	struct mm_struct *mm;
	struct task_struct *real_parent;
	const struct cred *real_cred;
	struct signal_struct *signal;
	u64 utime;
	u64 stime;
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

#pragma clang attribute pop

// The kernel's iterators, which are opaque.
struct bpf_iter_task {
	u64 opaque[3];
} __attribute__((aligned(8)));

struct bpf_iter_num {
	u64 opaque[1];
} __attribute__((aligned(8)));

#define BPF_TASK_ITER_ALL_PROCS 0
#define BPF_TASK_ITER_PROC_THREADS 2
