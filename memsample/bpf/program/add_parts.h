// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// `add_parts` by the kernel's iterator over numbers.
#pragma once

static __always_inline void add_part(s64 *sum, u64 address)
{
	*sum += READABLE(struct refcount_struct, address)->refs.counter;
}

static __always_inline void add_parts(struct kept *kept, struct counted *counted)
{
	struct bpf_iter_num cpus;
	int *cpu;
	bpf_iter_num_new(&cpus, 0, kept->cpus);
	while ((cpu = bpf_iter_num_next(&cpus))) {
		u64 offset = kept->offset_of_cpu[*cpu & (MAX_CPUS - 1)];
		add_part(&counted->pages[MM_FILEPAGES], counted->parts[MM_FILEPAGES] + offset);
		add_part(&counted->pages[MM_ANONPAGES], counted->parts[MM_ANONPAGES] + offset);
		add_part(&counted->pages[MM_SWAPENTS], counted->parts[MM_SWAPENTS] + offset);
		add_part(&counted->pages[MM_SHMEMPAGES], counted->parts[MM_SHMEMPAGES] + offset);
	}
	bpf_iter_num_destroy(&cpus);
}
