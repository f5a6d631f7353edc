// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// What all programs share: what is kept between their calls, and where the parts of the CPUs are.
#pragma once

#include "rss_stat.h"

// As in ../src/cpus.rs; a power of two.
#define MAX_CPUS 4096
// Places that a walk can go on from; a power of two.
#define PLACES 16

// Members of `rss_stat`, since Linux 4.5.
#define MM_FILEPAGES 0
#define MM_ANONPAGES 1
#define MM_SWAPENTS 2
#define MM_SHMEMPAGES 3
#define MM_COUNTERS 4

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// The counters of one process, in the order of `rss_stat`, and what reading them takes.
struct counted {
	s64 pages[MM_COUNTERS];
	// Where the parts of the CPUs are.
	u64 parts[MM_COUNTERS];
	// What the counters were before their parts were read.
	s64 sums[MM_COUNTERS];
	// Not 0 where they are not of one instant.
	u64 moved;
	// Where a pointer becomes a number.
	u64 number;
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
	// Processes that have ended.
	u64 ended;
	// Where a pointer becomes a number.
	u64 number;
	// The first task, which heads the list of processes.
	u64 head;
	// The process of the list that was visited last.
	u64 at;
	// Where the walk is in a list of threads.
	u64 node;
	struct counted counted;
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

static __always_inline struct kept *kept_memory(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&kept_state, &zero);
}

// A pointer as a number, by way of the member `number` of the structure at `memory`.
#define number_of(memory, pointer)                                        \
	({                                                                \
		*(volatile u64 *)&(memory)->number = (u64)(pointer);       \
		*(volatile u64 *)&(memory)->number;                        \
	})

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
