// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// What both forms of the program share: the rows, the maps, and how a row is written.
//
// The form says before how it follows pointers (`READABLE`, `READ`), and has the function `add_parts`.
#pragma once

#include "counters.h"

#define PF_KTHREAD 0x00200000

// Member of `signal->pids`, since Linux 4.19.
#define PIDTYPE_TGID 1

#define HAS_MEMORY 2
#define IS_UNSTEADY 4
// No process, but what a thread besides the first one adds to the row of its process.
#define IS_THREAD 8

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

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct row);
} rows SEC(".maps");

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

// Writes what is of its memory. It is not of one instant, or not of `mm` as long as that was the process's, where
// `kept->counted.moved` is not 0 then.
static __always_inline void write_memory(struct kept *kept, struct row *row, struct task_struct *task,
					 struct mm_struct *mm)
{
	struct counted *counted = &kept->counted;
	read_counters(kept, counted, mm);
	row->file_pages = counted->pages[MM_FILEPAGES];
	row->anon_pages = counted->pages[MM_ANONPAGES];
	row->swap_entries = counted->pages[MM_SWAPENTS];
	row->shmem_pages = counted->pages[MM_SHMEMPAGES];
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
	load_barrier(counted);
	// A process drops its memory before the memory is given to another.
	counted->moved |= number_of(kept, task->mm) ^ number_of(kept, mm);
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
	load_barrier(&kept->counted);
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
	load_barrier(&kept->counted);
	// A thread that ended meanwhile may be counted twice, or not at all.
	kept->moved_threads = (row->sequence & 1) | (sequence_of(task->signal) ^ row->sequence);
	if (mm) {
		row->kind |= HAS_MEMORY;
		write_memory(kept, row, task, mm);
		if (kept->counted.moved)
			row->kind |= IS_UNSTEADY;
	} else {
		write_no_memory(row);
	}
	if (kept->moved_threads)
		row->kind |= IS_UNSTEADY;
	load_barrier(&kept->counted);
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
