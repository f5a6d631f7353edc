// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// Writes what each process had resident when it ended into a ring buffer that user space maps.
//
// Two programs: user space runs `note_cpu` once for each possible CPU, and the kernel calls `note_end` at the end of each
// task. Since Linux 6.16 it does so before the task lets go of its memory, and says whether it is the last of its process;
// older kernels refuse the program, since they do not say it.
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

#define READABLE(type, object) ((type *)bpf_rdonly_cast((const void *)(object), bpf_core_type_id_kernel(type)))

#include "counters.h"
#include "add_parts.h"

// As in ../src/end.rs.
struct end {
	// How many processes had ended before it. One that is left out found no room.
	u64 number;
	u32 pid;
	u32 is_of_one_instant;
	u64 start_ns;
	u64 lived_ns;
	s64 pages[MM_COUNTERS];
	u64 hiwater_rss_pages;
	u64 maxrss_pages;
	// Of no use to the reader.
	struct counted counted;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} rows SEC(".maps");

static __always_inline void write_end(struct kept *kept, struct end *end, struct task_struct *task,
				      struct mm_struct *mm)
{
	struct counted *counted = &end->counted;
	struct task_struct *first = task->group_leader;
	end->pid = task->tgid;
	end->start_ns = first->start_boottime;
	end->lived_ns = bpf_ktime_get_ns() - first->start_time;
	read_counters(kept, counted, mm);
	end->pages[MM_FILEPAGES] = counted->pages[MM_FILEPAGES];
	end->pages[MM_ANONPAGES] = counted->pages[MM_ANONPAGES];
	end->pages[MM_SWAPENTS] = counted->pages[MM_SWAPENTS];
	end->pages[MM_SHMEMPAGES] = counted->pages[MM_SHMEMPAGES];
	// After the counters: where memory was given back meanwhile, the mark has it.
	load_barrier(counted);
	end->hiwater_rss_pages = mm->hiwater_rss;
	end->maxrss_pages = task->signal->maxrss;
	end->is_of_one_instant = counted->moved == 0;
	// No addresses of the kernel leave it.
	__builtin_memset(counted, 0, sizeof(*counted));
}

SEC("tp_btf/sched_process_exit")
int note_end(u64 *context)
{
	struct task_struct *task = (struct task_struct *)context[0];
	bool is_last = context[1];
	struct mm_struct *mm = task->mm;
	struct kept *kept = kept_memory();
	if (!is_last || !mm || !kept)
		return 0;
	u64 number = __sync_fetch_and_add(&kept->ended, 1);
	struct end *end = bpf_ringbuf_reserve(&rows, sizeof(*end), 0);
	if (!end)
		return 0;
	end->number = number;
	write_end(kept, end, task, mm);
	bpf_ringbuf_submit(end, 0);
	return 0;
}
