// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// Returns which form the counters of resident pages have, for choice.c.
#include "../kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "../rss_stat.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("socket")
int choice(void *packet)
{
	return is_per_cpu() | is_plain() << 1 | is_tree() << 2;
}
