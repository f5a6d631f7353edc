// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// Walks all processes of the kernel, and writes one row for each of them into an array that user space maps.
//
// Two programs, each of which user space runs by BPF_PROG_RUN: `note_cpu` once for each possible CPU, and then `walk`
// for each pass. The rows are those of `Row` in ../src/row.rs, in the units of the kernel.
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

// As in ../src/cpus.rs; a power of two.
#define MAX_CPUS 4096

#define PF_KTHREAD 0x00200000

// Members of `rss_stat`, since Linux 4.5.
#define MM_FILEPAGES 0
#define MM_ANONPAGES 1
#define MM_SWAPENTS 2
#define MM_SHMEMPAGES 3

// Member of `signal->pids`, since Linux 4.19.
#define PIDTYPE_TGID 1

#define IS_KERNEL_THREAD 1
#define HAS_MEMORY 2
#define IS_UNSTEADY 4

char LICENSE[] SEC("license") = "Dual MIT/GPL";

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym;
extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task, unsigned int flags) __ksym;
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it) __ksym;
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __ksym;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

// `object` as a pointer through which the kernel lets a program only read: a load of what is no longer there gives 0
// instead of a fault.
#define READABLE(type, object) ((type *)bpf_rdonly_cast((const void *)(object), bpf_core_type_id_kernel(type)))

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
	// The head of `probe`, up to the address of its first element in the per-CPU area.
	u8 head[1024];
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

struct walk_result {
	u32 rows;
	u32 missed;
};

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
	if (at > sizeof(kept->head) - sizeof(u64))
		return 2;
	if (bpf_probe_read_kernel(kept->head, at + sizeof(u64), &probe))
		return 3;
	void *part = bpf_map_lookup_percpu_elem(&probe, &zero, cpu);
	if (!part)
		return 4;
	if (index >= MAX_CPUS)
		return 5;
	u64 base = *(u64 *)&kept->head[at];
	kept->offset_of_cpu[index & (MAX_CPUS - 1)] = number_of(kept, part) - base;
	if (index >= kept->cpus)
		kept->cpus = index + 1;
	return 0;
}

// The number of a process in the namespace of the reader; 0 where it has none there.
static __always_inline u32 number_in_namespace(struct kept *kept, struct pid *pid)
{
	u32 level = kept->level;
	if (!pid || pid->level < level)
		return 0;
	u64 address = number_of(kept, pid) + bpf_core_field_offset(struct pid, numbers) +
		      (u64)level * bpf_core_type_size(struct upid);
	struct upid *number = READABLE(struct upid, address);
	if (number_of(kept, number->ns) != kept->namespace)
		return 0;
	return number->nr;
}

static __always_inline void add_part(s64 *sum, u64 base, u64 offset)
{
	*sum += READABLE(struct refcount_struct, base + offset)->refs.counter;
}

static __always_inline s64 positive(s64 pages)
{
	return pages < 0 ? 0 : pages;
}

// Loads before it come before loads after it, on every CPU.
static __always_inline void load_barrier(struct kept *kept)
{
	__sync_fetch_and_add(&kept->number, 0);
}

// Whether nobody is moving the part of a CPU into the sum.
static __always_inline bool is_free(struct percpu_counter *counter)
{
	return counter->lock.raw_lock.val.counter == 0;
}

// Writes what is of its memory, and returns whether it is of one instant, and of `mm` as long as that was the process's.
//
// A counter is moved under its lock: first its sum grows, and then the part of the CPU shrinks. If the lock was free after
// the sum was read, and the sum is the same after the parts were read, no part was counted twice or left out.
static __always_inline bool write_memory(struct kept *kept, struct row *row, struct task_struct *task,
					 struct mm_struct *mm)
{
	struct percpu_counter *counters = mm->rss_stat;
	s64 file = counters[MM_FILEPAGES].count, file_sum = file;
	s64 anon = counters[MM_ANONPAGES].count, anon_sum = anon;
	s64 swap = counters[MM_SWAPENTS].count, swap_sum = swap;
	s64 shmem = counters[MM_SHMEMPAGES].count, shmem_sum = shmem;
	load_barrier(kept);
	bool is_steady = is_free(&counters[MM_FILEPAGES]) && is_free(&counters[MM_ANONPAGES]) &&
			 is_free(&counters[MM_SWAPENTS]) && is_free(&counters[MM_SHMEMPAGES]);
	u64 file_parts = number_of(kept, counters[MM_FILEPAGES].counters);
	u64 anon_parts = number_of(kept, counters[MM_ANONPAGES].counters);
	u64 swap_parts = number_of(kept, counters[MM_SWAPENTS].counters);
	u64 shmem_parts = number_of(kept, counters[MM_SHMEMPAGES].counters);
	struct bpf_iter_num cpus;
	int *cpu;
	load_barrier(kept);
	bpf_iter_num_new(&cpus, 0, kept->cpus);
	while ((cpu = bpf_iter_num_next(&cpus))) {
		u64 offset = kept->offset_of_cpu[*cpu & (MAX_CPUS - 1)];
		add_part(&file, file_parts, offset);
		add_part(&anon, anon_parts, offset);
		add_part(&swap, swap_parts, offset);
		add_part(&shmem, shmem_parts, offset);
	}
	bpf_iter_num_destroy(&cpus);
	row->file_pages = positive(file);
	row->anon_pages = positive(anon);
	row->swap_entries = positive(swap);
	row->shmem_pages = positive(shmem);
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
	return is_steady && counters[MM_FILEPAGES].count == file_sum && counters[MM_ANONPAGES].count == anon_sum &&
	       counters[MM_SWAPENTS].count == swap_sum && counters[MM_SHMEMPAGES].count == shmem_sum && task->mm == mm;
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

static __always_inline void add_threads(struct row *row, struct task_struct *walked)
{
	struct bpf_iter_task threads;
	struct task_struct *thread;
	// The iterator takes only what is held.
	struct task_struct *held = bpf_task_acquire(walked);
	if (!held)
		return;
	bpf_iter_task_new(&threads, held, BPF_TASK_ITER_PROC_THREADS);
	while ((thread = bpf_iter_task_next(&threads)))
		add_thread(row, READABLE(struct task_struct, thread));
	bpf_iter_task_destroy(&threads);
	bpf_task_release(held);
}

static __always_inline void write_row(struct kept *kept, struct row *row, u32 pid, struct task_struct *walked)
{
	struct task_struct *task = READABLE(struct task_struct, walked);
	struct signal_struct *signal = task->signal;
	struct mm_struct *mm = task->mm;
	u32 kind = 0, sequence = signal->stats_lock.seqcount.seqcount.sequence;
	load_barrier(kept);
	row->pid = pid;
	row->parent = number_in_namespace(kept, task->real_parent->signal->pids[PIDTYPE_TGID]);
	row->threads = signal->nr_threads;
	row->start_ns = task->start_boottime;
	*(u64 *)&row->comm[0] = *(u64 *)&task->comm[0];
	*(u64 *)&row->comm[8] = *(u64 *)&task->comm[8];
	row->state = task->__state | task->exit_state;
	row->euid = task->real_cred->euid.val;
	row->maxrss_pages = signal->maxrss;
	row->shown_utime_ns = signal->prev_cputime.utime;
	row->shown_stime_ns = signal->prev_cputime.stime;
	// Those of threads that have ended.
	row->minor_faults = signal->min_flt;
	row->major_faults = signal->maj_flt;
	row->utime_ns = signal->utime;
	row->stime_ns = signal->stime;
	row->runtime_ns = signal->sum_sched_runtime;
	if (row->threads < 2) {
		add_thread(row, task);
	} else {
		add_threads(row, walked);
	}
	load_barrier(kept);
	// A thread that ended meanwhile may be counted twice, or not at all.
	if (sequence & 1 || signal->stats_lock.seqcount.seqcount.sequence != sequence)
		kind |= IS_UNSTEADY;
	if (task->flags & PF_KTHREAD)
		kind |= IS_KERNEL_THREAD;
	// A thread of the kernel may borrow the memory of a process for a while.
	if (mm && !(kind & IS_KERNEL_THREAD)) {
		kind |= HAS_MEMORY;
		if (!write_memory(kept, row, task, mm))
			kind |= IS_UNSTEADY;
	} else {
		write_no_memory(row);
	}
	row->kind = kind;
}

// Notes the namespace of who runs the program. Returns 0, or what failed.
static __always_inline int note_namespace(struct kept *kept)
{
	struct task_struct *reader = READABLE(struct task_struct, bpf_get_current_task());
	struct pid *pid = reader->signal->pids[PIDTYPE_TGID];
	if (!pid)
		return 1;
	kept->level = pid->level;
	u64 address = number_of(kept, pid) + bpf_core_field_offset(struct pid, numbers) +
		      (u64)kept->level * bpf_core_type_size(struct upid);
	kept->namespace = number_of(kept, READABLE(struct upid, address)->ns);
	return kept->namespace == 0;
}

// Writes the rows. Returns 0, or what failed.
SEC("syscall")
int walk(struct walk_result *result)
{
	struct bpf_iter_task processes;
	struct task_struct *process;
	struct kept *kept = kept_memory();
	if (!kept)
		return 1;
	if (note_namespace(kept))
		return 2;
	kept->rows = 0;
	kept->missed = 0;
	bpf_rcu_read_lock();
	bpf_iter_task_new(&processes, (struct task_struct *)0, BPF_TASK_ITER_ALL_PROCS);
	while ((process = bpf_iter_task_next(&processes))) {
		struct task_struct *task = READABLE(struct task_struct, process);
		u32 pid = number_in_namespace(kept, task->signal->pids[PIDTYPE_TGID]);
		// In a namespace that the reader does not see, or being reaped.
		if (!pid)
			continue;
		u32 index = kept->rows;
		struct row *row = bpf_map_lookup_elem(&rows, &index);
		if (!row) {
			kept->missed += 1;
			continue;
		}
		kept->rows = index + 1;
		write_row(kept, row, pid, process);
	}
	bpf_iter_task_destroy(&processes);
	bpf_rcu_read_unlock();
	result->rows = kept->rows;
	result->missed = kept->missed;
	return 0;
}
