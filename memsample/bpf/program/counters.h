// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// How the counters of resident pages of a process are read, with the part of every CPU.
//
// The form says before how it follows pointers (`READABLE`, `READ`), and has the function `add_parts`.
#pragma once

#include "kept.h"

// Adds the part of every CPU, at `counted->parts`, to the counters of a process.
static __always_inline void add_parts(struct kept *kept, struct counted *counted);

// Loads before it come before loads after it, on every CPU.
static __always_inline void load_barrier(struct counted *counted)
{
	__sync_fetch_and_add(&counted->number, 0);
}

// 0 while nobody is moving the part of a CPU into the sum.
static __always_inline u32 lock_of(struct percpu_counter *counter)
{
	return counter->lock.raw_lock.val.counter;
}

// Reads the counters of resident pages and swap of a kernel whose counters have a part for each CPU besides a sum. What is
// not 0 in `counted->moved` then says that they are not of one instant.
//
// A counter is moved under its lock: first its sum grows, and then the part of the CPU shrinks. If the lock was free after
// the sum was read, and the sum is the same after the parts were read, no part was counted twice or left out.
//
// Numbers are kept in maps and not compared one by one: the verifier follows each path anew, but not what is in a map.
static __always_inline void read_per_cpu(struct kept *kept, struct counted *counted, struct mm_struct *mm)
{
	struct percpu_counter *counters = mm->rss_stat;
	counted->pages[MM_FILEPAGES] = counted->sums[MM_FILEPAGES] = counters[MM_FILEPAGES].count;
	counted->pages[MM_ANONPAGES] = counted->sums[MM_ANONPAGES] = counters[MM_ANONPAGES].count;
	counted->pages[MM_SWAPENTS] = counted->sums[MM_SWAPENTS] = counters[MM_SWAPENTS].count;
	counted->pages[MM_SHMEMPAGES] = counted->sums[MM_SHMEMPAGES] = counters[MM_SHMEMPAGES].count;
	load_barrier(counted);
	counted->moved = lock_of(&counters[MM_FILEPAGES]) | lock_of(&counters[MM_ANONPAGES]) |
			 lock_of(&counters[MM_SWAPENTS]) | lock_of(&counters[MM_SHMEMPAGES]);
	counted->parts[MM_FILEPAGES] = number_of(counted, counters[MM_FILEPAGES].counters);
	counted->parts[MM_ANONPAGES] = number_of(counted, counters[MM_ANONPAGES].counters);
	counted->parts[MM_SWAPENTS] = number_of(counted, counters[MM_SWAPENTS].counters);
	counted->parts[MM_SHMEMPAGES] = number_of(counted, counters[MM_SHMEMPAGES].counters);
	load_barrier(counted);
	add_parts(kept, counted);
	load_barrier(counted);
	counted->moved |= (counters[MM_FILEPAGES].count ^ counted->sums[MM_FILEPAGES]) |
			  (counters[MM_ANONPAGES].count ^ counted->sums[MM_ANONPAGES]) |
			  (counters[MM_SWAPENTS].count ^ counted->sums[MM_SWAPENTS]) |
			  (counters[MM_SHMEMPAGES].count ^ counted->sums[MM_SHMEMPAGES]);
}

// The kernel adds numbers of 32 bits, which may overflow meanwhile.
#define BIASED(sum, counter) ((s64)(s32)((u32)(sum) + (u32)tree->rss_stat[counter].bias))

// The same of a kernel whose counters are trees: the parts of the CPUs have all, and what is above repeats it.
static __always_inline void read_tree(struct kept *kept, struct counted *counted, struct mm_struct___tree *tree)
{
	counted->pages[MM_FILEPAGES] = counted->pages[MM_ANONPAGES] = 0;
	counted->pages[MM_SWAPENTS] = counted->pages[MM_SHMEMPAGES] = 0;
	counted->parts[MM_FILEPAGES] = number_of(counted, tree->rss_stat[MM_FILEPAGES].level0);
	counted->parts[MM_ANONPAGES] = number_of(counted, tree->rss_stat[MM_ANONPAGES].level0);
	counted->parts[MM_SWAPENTS] = number_of(counted, tree->rss_stat[MM_SWAPENTS].level0);
	counted->parts[MM_SHMEMPAGES] = number_of(counted, tree->rss_stat[MM_SHMEMPAGES].level0);
	add_parts(kept, counted);
	counted->pages[MM_FILEPAGES] = BIASED(counted->pages[MM_FILEPAGES], MM_FILEPAGES);
	counted->pages[MM_ANONPAGES] = BIASED(counted->pages[MM_ANONPAGES], MM_ANONPAGES);
	counted->pages[MM_SWAPENTS] = BIASED(counted->pages[MM_SWAPENTS], MM_SWAPENTS);
	counted->pages[MM_SHMEMPAGES] = BIASED(counted->pages[MM_SHMEMPAGES], MM_SHMEMPAGES);
	counted->moved = 0;
}

// A counter of Linux before 6.2, whose verifier does not follow a pointer into an array of what is no structure by name.
static __always_inline s64 count_at(const void *counter)
{
	s64 count = 0;
	bpf_probe_read_kernel(&count, sizeof(count), counter);
	return count;
}

// The same of Linux before 6.2, whose counters have no parts but those that threads have not yet added, which `/proc` does
// not count either.
static __always_inline void read_plain(struct kept *kept, struct counted *counted, struct mm_struct___plain *plain)
{
	counted->pages[MM_FILEPAGES] = count_at(&plain->rss_stat.count[MM_FILEPAGES]);
	counted->pages[MM_ANONPAGES] = count_at(&plain->rss_stat.count[MM_ANONPAGES]);
	counted->pages[MM_SWAPENTS] = count_at(&plain->rss_stat.count[MM_SWAPENTS]);
	counted->pages[MM_SHMEMPAGES] = count_at(&plain->rss_stat.count[MM_SHMEMPAGES]);
	counted->moved = 0;
}

// Reads the counters in the form that the kernel has. They are not of one instant where `counted->moved` is not 0 then.
static __always_inline void read_counters(struct kept *kept, struct counted *counted, struct mm_struct *mm)
{
	if (is_tree())
		read_tree(kept, counted, (struct mm_struct___tree *)mm);
	else if (is_plain())
		read_plain(kept, counted, (struct mm_struct___plain *)mm);
	else
		read_per_cpu(kept, counted, mm);
}
