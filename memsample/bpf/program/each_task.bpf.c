// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// Writes the same rows as walk.bpf.c, for kernels that have no iterators within a program: the kernel calls `each_task` for
// each thread of the reader's pid namespace when user space reads from an iterator.
//
// What a thread besides the first one used has a row of its own, which user space adds to that of its process.
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

// The kernel knows the types of what the iterator hands over, and of what is reached from there.
#define READABLE(type, object) ((type *)(object))
// A member of the object at an address, as a number.
#define READ(type, address, member)                                                               \
	({                                                                                        \
		u64 read = 0;                                                                     \
		bpf_probe_read_kernel(&read, bpf_core_field_size(((type *)0)->member),            \
				      (const void *)((address) + bpf_core_field_offset(type, member))); \
		read;                                                                             \
	})

#include "row.h"

struct pass_result {
	u32 rows;
	u32 missed;
};

struct parts {
	struct kept *kept;
	struct counted *counted;
};

static __always_inline s64 part_at(u64 address)
{
	s32 part = 0;
	bpf_probe_read_kernel(&part, sizeof(part), (const void *)address);
	return part;
}

static long add_parts_of_cpu(u32 cpu, struct parts *parts)
{
	struct kept *kept = parts->kept;
	struct counted *counted = parts->counted;
	u64 offset = kept->offset_of_cpu[cpu & (MAX_CPUS - 1)];
	counted->pages[MM_FILEPAGES] += part_at(counted->parts[MM_FILEPAGES] + offset);
	counted->pages[MM_ANONPAGES] += part_at(counted->parts[MM_ANONPAGES] + offset);
	counted->pages[MM_SWAPENTS] += part_at(counted->parts[MM_SWAPENTS] + offset);
	counted->pages[MM_SHMEMPAGES] += part_at(counted->parts[MM_SHMEMPAGES] + offset);
	return 0;
}

static __always_inline void add_parts(struct kept *kept, struct counted *counted)
{
	struct parts parts = {kept, counted};
	bpf_loop(kept->cpus, add_parts_of_cpu, &parts, 0);
}

// Returns what the pass before has written, and begins one. Returns 0, or what failed.
SEC("syscall")
int begin_anew(struct pass_result *result)
{
	struct kept *kept = kept_memory();
	if (!kept)
		return 1;
	result->rows = kept->rows;
	result->missed = kept->missed;
	kept->rows = 0;
	kept->missed = 0;
	return note_namespace(kept, bpf_get_current_task_btf()) ? 2 : 0;
}

SEC("iter/task")
int each_task(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct kept *kept = kept_memory();
	// The last call is for no task.
	if (!task || !kept || is_of_the_kernel(task))
		return 0;
	struct signal_struct *signal = task->signal;
	u32 pid = number_in_namespace(kept, signal->pids[PIDTYPE_TGID]);
	// Being reaped.
	if (!pid)
		return 0;
	struct row *row = next_row(kept);
	if (!row)
		return 0;
	if (task->pid == task->tgid) {
		begin_row(kept, row, pid, task);
		add_thread(row, task);
		end_row(kept, row, task);
		return 0;
	}
	row->pid = pid;
	row->kind = IS_THREAD;
	row->sequence = sequence_of(signal);
	row->minor_faults = row->major_faults = 0;
	row->utime_ns = row->stime_ns = row->runtime_ns = 0;
	load_barrier(&kept->counted);
	add_thread(row, task);
	return 0;
}
