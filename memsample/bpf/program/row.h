// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// What both forms of the program share: the rows, the maps, and how a row is written.
//
// The form says before how it follows pointers (`READABLE`, `READ`), and has the function `add_parts`.
#pragma once

#include "rss_stat.h"

// As in ../src/cpus.rs; a power of two.
#define MAX_CPUS 4096
// Places that a walk can go on from; a power of two.
#define PLACES 16

#define PF_KTHREAD 0x00200000

// Members of `rss_stat`, since Linux 4.5.
#define MM_FILEPAGES 0
#define MM_ANONPAGES 1
#define MM_SWAPENTS 2
#define MM_SHMEMPAGES 3
#define MM_COUNTERS 4

// Member of `signal->pids`, since Linux 4.19.
#define PIDTYPE_TGID 1

#define HAS_MEMORY 2
#define IS_UNSTEADY 4
// No process, but what a thread besides the first one adds to the row of its process.
#define IS_THREAD 8

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct row {
	u32 pid;
	u32 parent;
	u32 kind;
	u32 threads;
	u64 start_ns;
	char comm[16];
	s64 file_pages;
	s64 anon_pages;
	s64 shmem_pages;
	s64 swap_entries;
	u64 hiwater_rss_pages;
	u64 total_vm_pages;
	u64 data_vm_pages;
	u64 stack_vm_pages;
	u64 exec_vm_pages;
	u64 start_code;
	u64 end_code;
	u64 start_stack;
	u64 page_table_bytes;
	u64 hugetlb_pages;
	u64 minor_faults;
	u64 major_faults;
	u64 utime_ns;
	u64 stime_ns;
	u64 runtime_ns;
	u64 shown_utime_ns;
	u64 shown_stime_ns;
	u64 maxrss_pages;
	u32 state;
	u32 euid;
	u32 sequence;
	u32 groups;
};

// A process of the list that was visited, and what had been written when it was.
struct place {
	u64 task;
	u64 start_ns;
	u32 pid;
	u32 number;
	u32 rows;
	u32 missed;
};

// What is kept between the calls, and counters, which the verifier follows only in registers and on the stack.
struct kept {
	u32 rows;
	u32 missed;
	u32 cpus;
	u32 level;
	u64 namespace;
	// Where a pointer becomes a number.
	u64 number;
	// The first task, which heads the list of processes.
	u64 head;
	// The process of the list that was visited last.
	u64 at;
	// Where the walk is in a list of threads.
	u64 node;
	// Where the parts of the CPUs are of the counters of one process, in the order of `rss_stat`.
	u64 parts[MM_COUNTERS];
	// What the counters were before their parts were read.
	s64 sums[MM_COUNTERS];
	u64 moved;
	u32 moved_threads;
	u32 is_found;
	// Of a slice: how many tasks it has, what failed, and whether it is the last one.
	u32 most_tasks;
	u32 answer;
	u32 is_last;
	u32 reserved;
	// Processes of the list that were visited, and those and threads since the slice began.
	u32 visited;
	u32 tasks;
	struct place places[PLACES];
	// The head of `probe`, up to the address of its first element in the per-CPU area.
	u8 map_head[1024];
	// What is added to a per-CPU address to get the address of that CPU.
	u64 offset_of_cpu[MAX_CPUS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct row);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct kept);
} kept_state SEC(".maps");

// Its address in the per-CPU area and the address of each CPU's part of it are both known; their difference is what
// every other per-CPU address needs.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} probe SEC(".maps");

struct cpu_argument {
	u32 cpu;
	u32 index;
};

// Adds the part of every CPU, at `kept->parts`, to the counters of a row.
static __always_inline void add_parts(struct kept *kept, struct row *row);

static __always_inline struct kept *kept_memory(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&kept_state, &zero);
}

static __always_inline u64 number_of(struct kept *kept, const void *pointer)
{
	*(volatile u64 *)&kept->number = (u64)pointer;
	return *(volatile u64 *)&kept->number;
}

// Notes where the parts of one CPU are. Returns 0, or what failed.
SEC("syscall")
int note_cpu(struct cpu_argument *argument)
{
	u32 zero = 0, cpu = argument->cpu, index = argument->index;
	const u32 at = bpf_core_field_offset(struct bpf_array, pptrs);
	struct kept *kept = kept_memory();
	if (!kept)
		return 1;
	// Nothing has parts, and Linux before 5.19 lacks what finds them.
	if (is_plain())
		return 0;
	if (at > sizeof(kept->map_head) - sizeof(u64))
		return 2;
	if (bpf_probe_read_kernel(kept->map_head, at + sizeof(u64), &probe))
		return 3;
	void *part = bpf_map_lookup_percpu_elem(&probe, &zero, cpu);
	if (!part)
		return 4;
	if (index >= MAX_CPUS)
		return 5;
	u64 base = *(u64 *)&kept->map_head[at];
	kept->offset_of_cpu[index & (MAX_CPUS - 1)] = number_of(kept, part) - base;
	if (index >= kept->cpus)
		kept->cpus = index + 1;
	return 0;
}

// Where a process has its number in the namespace of that level.
static __always_inline u64 address_of_number(struct kept *kept, struct pid *pid, u32 level)
{
	return number_of(kept, pid) + bpf_core_field_offset(struct pid, numbers) +
	       (u64)level * bpf_core_type_size(struct upid);
}

// The number of a process in the namespace of the reader; 0 where it has none there.
static __always_inline u32 number_in_namespace(struct kept *kept, struct pid *pid)
{
	u32 level = kept->level;
	if (!pid || pid->level < level)
		return 0;
	// There is one namespace at the top.
	if (!level)
		return pid->numbers[0].nr;
	u64 address = address_of_number(kept, pid, level);
	if (READ(struct upid, address, ns) != kept->namespace)
		return 0;
	return READ(struct upid, address, nr);
}

// Notes the namespace of who runs the program. Returns 0, or what failed.
static __always_inline int note_namespace(struct kept *kept, struct task_struct *reader)
{
	struct pid *pid = reader->signal->pids[PIDTYPE_TGID];
	if (!pid)
		return 1;
	u32 level = pid->level;
	kept->level = level;
	kept->namespace = READ(struct upid, address_of_number(kept, pid, level), ns);
	return kept->namespace == 0;
}

// Loads before it come before loads after it, on every CPU.
static __always_inline void load_barrier(struct kept *kept)
{
	__sync_fetch_and_add(&kept->number, 0);
}

// 0 while nobody is moving the part of a CPU into the sum.
static __always_inline u32 lock_of(struct percpu_counter *counter)
{
	return counter->lock.raw_lock.val.counter;
}

// Reads the counters of resident pages and swap of a kernel whose counters have a part for each CPU besides a sum. What is
// not 0 in `kept->moved` then says that they are not of one instant.
//
// A counter is moved under its lock: first its sum grows, and then the part of the CPU shrinks. If the lock was free after
// the sum was read, and the sum is the same after the parts were read, no part was counted twice or left out.
//
// Numbers are kept in maps and not compared one by one: the verifier follows each path anew, but not what is in a map.
static __always_inline void read_per_cpu(struct kept *kept, struct row *row, struct mm_struct *mm)
{
	struct percpu_counter *counters = mm->rss_stat;
	row->file_pages = kept->sums[MM_FILEPAGES] = counters[MM_FILEPAGES].count;
	row->anon_pages = kept->sums[MM_ANONPAGES] = counters[MM_ANONPAGES].count;
	row->swap_entries = kept->sums[MM_SWAPENTS] = counters[MM_SWAPENTS].count;
	row->shmem_pages = kept->sums[MM_SHMEMPAGES] = counters[MM_SHMEMPAGES].count;
	load_barrier(kept);
	kept->moved = lock_of(&counters[MM_FILEPAGES]) | lock_of(&counters[MM_ANONPAGES]) |
		      lock_of(&counters[MM_SWAPENTS]) | lock_of(&counters[MM_SHMEMPAGES]);
	kept->parts[MM_FILEPAGES] = number_of(kept, counters[MM_FILEPAGES].counters);
	kept->parts[MM_ANONPAGES] = number_of(kept, counters[MM_ANONPAGES].counters);
	kept->parts[MM_SWAPENTS] = number_of(kept, counters[MM_SWAPENTS].counters);
	kept->parts[MM_SHMEMPAGES] = number_of(kept, counters[MM_SHMEMPAGES].counters);
	load_barrier(kept);
	add_parts(kept, row);
	load_barrier(kept);
	kept->moved |= (counters[MM_FILEPAGES].count ^ kept->sums[MM_FILEPAGES]) |
		       (counters[MM_ANONPAGES].count ^ kept->sums[MM_ANONPAGES]) |
		       (counters[MM_SWAPENTS].count ^ kept->sums[MM_SWAPENTS]) |
		       (counters[MM_SHMEMPAGES].count ^ kept->sums[MM_SHMEMPAGES]);
}

// The kernel adds numbers of 32 bits, which may overflow meanwhile.
#define BIASED(sum, counter) ((s64)(s32)((u32)(sum) + (u32)tree->rss_stat[counter].bias))

// The same of a kernel whose counters are trees: the parts of the CPUs have all, and what is above repeats it.
static __always_inline void read_tree(struct kept *kept, struct row *row, struct mm_struct___tree *tree)
{
	row->file_pages = row->anon_pages = row->swap_entries = row->shmem_pages = 0;
	kept->parts[MM_FILEPAGES] = number_of(kept, tree->rss_stat[MM_FILEPAGES].level0);
	kept->parts[MM_ANONPAGES] = number_of(kept, tree->rss_stat[MM_ANONPAGES].level0);
	kept->parts[MM_SWAPENTS] = number_of(kept, tree->rss_stat[MM_SWAPENTS].level0);
	kept->parts[MM_SHMEMPAGES] = number_of(kept, tree->rss_stat[MM_SHMEMPAGES].level0);
	add_parts(kept, row);
	row->file_pages = BIASED(row->file_pages, MM_FILEPAGES);
	row->anon_pages = BIASED(row->anon_pages, MM_ANONPAGES);
	row->swap_entries = BIASED(row->swap_entries, MM_SWAPENTS);
	row->shmem_pages = BIASED(row->shmem_pages, MM_SHMEMPAGES);
	kept->moved = 0;
}

// The same of Linux before 6.2, whose counters have no parts but those that threads have not yet added, which `/proc` does
// not count either.
static __always_inline void read_plain(struct kept *kept, struct row *row, struct mm_struct___plain *plain)
{
	row->file_pages = plain->rss_stat.count[MM_FILEPAGES].counter;
	row->anon_pages = plain->rss_stat.count[MM_ANONPAGES].counter;
	row->swap_entries = plain->rss_stat.count[MM_SWAPENTS].counter;
	row->shmem_pages = plain->rss_stat.count[MM_SHMEMPAGES].counter;
	kept->moved = 0;
}

// Writes what is of its memory. It is not of one instant, or not of `mm` as long as that was the process's, where
// `kept->moved` is not 0 then.
static __always_inline void write_memory(struct kept *kept, struct row *row, struct task_struct *task,
					 struct mm_struct *mm)
{
	if (is_tree())
		read_tree(kept, row, (struct mm_struct___tree *)mm);
	else if (is_plain())
		read_plain(kept, row, (struct mm_struct___plain *)mm);
	else
		read_per_cpu(kept, row, mm);
	row->hiwater_rss_pages = mm->hiwater_rss;
	row->total_vm_pages = mm->total_vm;
	row->data_vm_pages = mm->data_vm;
	row->stack_vm_pages = mm->stack_vm;
	row->exec_vm_pages = mm->exec_vm;
	row->start_code = mm->start_code;
	row->end_code = mm->end_code;
	row->start_stack = mm->start_stack;
	row->page_table_bytes = mm->pgtables_bytes.counter;
	row->hugetlb_pages = 0;
	if (bpf_core_field_exists(mm->hugetlb_usage))
		row->hugetlb_pages = mm->hugetlb_usage.counter;
	load_barrier(kept);
	// A process drops its memory before the memory is given to another.
	kept->moved |= number_of(kept, task->mm) ^ number_of(kept, mm);
}

// Whether it is a thread of the kernel, which has no memory, or borrows that of a process for a while.
static __always_inline bool is_of_the_kernel(struct task_struct *task)
{
	return task->flags & PF_KTHREAD;
}

static __always_inline void write_no_memory(struct row *row)
{
	row->file_pages = row->anon_pages = row->swap_entries = row->shmem_pages = 0;
	row->hiwater_rss_pages = row->total_vm_pages = row->data_vm_pages = 0;
	row->stack_vm_pages = row->exec_vm_pages = 0;
	row->start_code = row->end_code = row->start_stack = 0;
	row->page_table_bytes = row->hugetlb_pages = 0;
}

static __always_inline void add_thread(struct row *row, struct task_struct *thread)
{
	row->minor_faults += thread->min_flt;
	row->major_faults += thread->maj_flt;
	row->utime_ns += thread->utime;
	row->stime_ns += thread->stime;
	row->runtime_ns += thread->se.sum_exec_runtime;
}

// How often a thread of the process has ended: odd while what it used is added up.
static __always_inline u32 sequence_of(struct signal_struct *signal)
{
	return signal->stats_lock.seqcount.seqcount.sequence;
}

// Writes all of a process but what its threads used, which is added by `add_thread` before `end_row`.
static __always_inline void begin_row(struct kept *kept, struct row *row, u32 pid, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	row->sequence = sequence_of(signal);
	row->groups = (u32)(number_of(kept, task->cgroups) >> 4);
	load_barrier(kept);
	row->pid = pid;
	row->kind = 0;
	row->parent = number_in_namespace(kept, task->real_parent->signal->pids[PIDTYPE_TGID]);
	row->threads = signal->nr_threads;
	row->start_ns = task->start_boottime;
	*(u64 *)&row->comm[0] = *(u64 *)&task->comm[0];
	*(u64 *)&row->comm[8] = *(u64 *)&task->comm[8];
	row->state = task->__state | task->exit_state;
	row->euid = task->real_cred->euid.val;
	row->shown_utime_ns = signal->prev_cputime.utime;
	row->shown_stime_ns = signal->prev_cputime.stime;
	// Those of threads that have ended.
	row->minor_faults = signal->min_flt;
	row->major_faults = signal->maj_flt;
	row->utime_ns = signal->utime;
	row->stime_ns = signal->stime;
	row->runtime_ns = signal->sum_sched_runtime;
}

static __always_inline void end_row(struct kept *kept, struct row *row, struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	load_barrier(kept);
	// A thread that ended meanwhile may be counted twice, or not at all.
	kept->moved_threads = (row->sequence & 1) | (sequence_of(task->signal) ^ row->sequence);
	if (mm) {
		row->kind |= HAS_MEMORY;
		write_memory(kept, row, task, mm);
		if (kept->moved)
			row->kind |= IS_UNSTEADY;
	} else {
		write_no_memory(row);
	}
	if (kept->moved_threads)
		row->kind |= IS_UNSTEADY;
	load_barrier(kept);
	// An exec adds what it replaces before the new memory has its addresses.
	row->maxrss_pages = task->signal->maxrss;
}

// Makes room for the next row; none where the array is full, which is counted.
static __always_inline struct row *next_row(struct kept *kept)
{
	u32 index = kept->rows;
	struct row *row = bpf_map_lookup_elem(&rows, &index);
	if (!row) {
		kept->missed += 1;
		return row;
	}
	kept->rows = index + 1;
	return row;
}
