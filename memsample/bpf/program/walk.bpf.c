// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// Walks the kernel's list of processes, and writes one row for each of them into an array that user space maps.
//
// Two programs, each of which user space runs by BPF_PROG_RUN: `note_cpu` once for each possible CPU, and then `walk`
// for each slice of a pass. The rows are those of `Row` in ../src/row.rs, in the units of the kernel.
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

// `object` as a pointer through which the kernel lets a program only read: a load of what is no longer there gives 0
// instead of a fault.
#define READABLE(type, object) ((type *)bpf_rdonly_cast((const void *)(object), bpf_core_type_id_kernel(type)))
// A member of the object at an address, as a number.
#define READ(type, address, member) number_of(kept, (const void *)(u64)READABLE(type, address)->member)

#include "row.h"
#include "add_parts.h"

// Tasks that Linux can have.
#define MOST_TASKS (1 << 22)
// From a process to the first task, by parents.
#define MOST_ANCESTORS 4096

// What `walk` returns.
#define DONE 0
#define NO_MEMORY 1
#define NO_NAMESPACE 2
#define NO_LIST 3
// Every process that was visited last has ended; the pass begins anew.
#define PLACE_LOST 4

struct walk_argument {
	u32 is_first;
	u32 most_tasks;
	u32 rows;
	u32 missed;
	u32 is_last;
};

// Adds what all threads of a process used.
static __always_inline void add_threads(struct kept *kept, struct row *row, struct signal_struct *signal)
{
	struct bpf_iter_num threads;
	u64 head = number_of(kept, signal) + bpf_core_field_offset(struct signal_struct, thread_head);
	kept->node = READ(struct list_head, head, next);
	bpf_iter_num_new(&threads, 0, MOST_TASKS);
	while (bpf_iter_num_next(&threads)) {
		u64 node = kept->node;
		if (node == head)
			break;
		if (!node) {
			row->kind = IS_UNSTEADY;
			break;
		}
		add_thread(row, READABLE(struct task_struct,
					 node - bpf_core_field_offset(struct task_struct, thread_node)));
		kept->tasks += 1;
		kept->node = READ(struct list_head, node, next);
	}
	bpf_iter_num_destroy(&threads);
}

static __always_inline void write_row(struct kept *kept, struct task_struct *task)
{
	if (is_of_the_kernel(task))
		return;
	u32 pid = number_in_namespace(kept, task->signal->pids[PIDTYPE_TGID]);
	// In a namespace that the reader does not see, or being reaped.
	if (!pid)
		return;
	struct row *row = next_row(kept);
	if (!row)
		return;
	begin_row(kept, row, pid, task);
	if (row->threads < 2)
		add_thread(row, task);
	else
		add_threads(kept, row, task->signal);
	end_row(kept, row, task);
}

// Finds the first task, the ancestor of all.
static __always_inline void find_head(struct kept *kept)
{
	struct bpf_iter_num ancestors;
	kept->at = number_of(kept, (const void *)bpf_get_current_task());
	bpf_iter_num_new(&ancestors, 0, MOST_ANCESTORS);
	while (bpf_iter_num_next(&ancestors)) {
		u64 at = kept->at;
		struct task_struct *task = READABLE(struct task_struct, at);
		if (!task->pid) {
			kept->head = at;
			break;
		}
		kept->at = number_of(kept, task->real_parent);
	}
	bpf_iter_num_destroy(&ancestors);
}

static __always_inline void begin_pass(struct kept *kept)
{
	kept->at = kept->head;
	kept->rows = 0;
	kept->missed = 0;
	kept->visited = 0;
}

// Notes the process that is visited now, before its row is written.
static __always_inline void note_place(struct kept *kept, struct task_struct *task, u64 at)
{
	u32 number = kept->visited;
	struct place *place = &kept->places[number & (PLACES - 1)];
	place->task = at;
	place->start_ns = task->start_boottime;
	place->pid = task->pid;
	place->number = number;
	kept->visited = number + 1;
}

// Notes what has been written when the visit of the last process ends.
static __always_inline void end_visit(struct kept *kept)
{
	struct place *place = &kept->places[(kept->visited - 1) & (PLACES - 1)];
	place->rows = kept->rows;
	place->missed = kept->missed;
}

// Goes back to the last process that is still in the list, and forgets the rows that were written after its own. The list
// has the order of forks, so that all processes after it were not visited, or their rows are those that are forgotten.
// Says in `kept->is_found` whether there was one.
static __always_inline void find_place(struct kept *kept)
{
	struct bpf_iter_num steps;
	const u64 member = bpf_core_field_offset(struct task_struct, tasks);
	kept->is_found = 0;
	bpf_iter_num_new(&steps, 0, PLACES);
	while (bpf_iter_num_next(&steps)) {
		u32 visited = kept->visited;
		if (!visited) {
			begin_pass(kept);
			kept->is_found = 1;
			break;
		}
		struct place *place = &kept->places[(visited - 1) & (PLACES - 1)];
		// Overwritten by what was forgotten since.
		if (place->number != visited - 1)
			break;
		u64 at = place->task;
		struct task_struct *task = READABLE(struct task_struct, at);
		u64 next = number_of(kept, task->tasks.next);
		// The memory of a process that has ended may be another's. What is in the list is what its neighbour names.
		u64 difference = (u64)(task->pid ^ place->pid) | (task->start_boottime ^ place->start_ns) |
				 (READ(struct list_head, next, prev) ^ (at + member));
		if (!difference) {
			kept->at = at;
			kept->rows = place->rows;
			kept->missed = place->missed;
			kept->is_found = 1;
			break;
		}
		kept->visited = visited - 1;
	}
	bpf_iter_num_destroy(&steps);
}

// Visits the processes after the last one, until there is none or the slice is large enough. Says in `kept->answer` what
// failed, and in `kept->is_last` whether there is none.
static __always_inline void visit(struct kept *kept)
{
	struct bpf_iter_num steps;
	const u64 member = bpf_core_field_offset(struct task_struct, tasks);
	kept->tasks = 0;
	bpf_iter_num_new(&steps, 0, MOST_TASKS);
	while (bpf_iter_num_next(&steps)) {
		u64 next = number_of(kept, READABLE(struct task_struct, kept->at)->tasks.next);
		if (!next) {
			kept->answer = NO_LIST;
			break;
		}
		next -= member;
		if (next == kept->head) {
			kept->is_last = 1;
			break;
		}
		if (kept->tasks >= kept->most_tasks)
			break;
		struct task_struct *task = READABLE(struct task_struct, next);
		kept->at = next;
		kept->tasks += 1;
		note_place(kept, task, next);
		write_row(kept, task);
		end_visit(kept);
	}
	bpf_iter_num_destroy(&steps);
}

// Prepares a slice: of the first processes, or of those after the last slice. Returns DONE, or what failed.
static __always_inline u32 begin_slice(struct kept *kept, u32 is_first)
{
	if (!is_first) {
		find_place(kept);
		return kept->is_found ? DONE : PLACE_LOST;
	}
	if (note_namespace(kept, READABLE(struct task_struct, bpf_get_current_task())))
		return NO_NAMESPACE;
	if (!kept->head)
		find_head(kept);
	if (!kept->head)
		return NO_LIST;
	begin_pass(kept);
	return DONE;
}

// Writes the rows of a slice. Returns DONE, or what failed.
SEC("syscall")
int walk(struct walk_argument *argument)
{
	struct kept *kept = kept_memory();
	if (!kept)
		return NO_MEMORY;
	kept->most_tasks = argument->most_tasks;
	kept->is_last = 0;
	bpf_rcu_read_lock();
	kept->answer = begin_slice(kept, argument->is_first);
	if (kept->answer == DONE)
		visit(kept);
	bpf_rcu_read_unlock();
	argument->rows = kept->rows;
	argument->missed = kept->missed;
	argument->is_last = kept->is_last;
	return kept->answer;
}
