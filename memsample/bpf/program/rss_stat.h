// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// Which form the counters of resident pages have in the kernel that loads the program.
//
// Each member is looked for by its name; the kernel refuses a program that reads one that it has not.
#pragma once

// Linux 6.2 to at least 7.3.
static __always_inline bool is_per_cpu(void)
{
	return bpf_core_field_exists(((struct mm_struct *)0)->rss_stat[0].counters);
}

// Before Linux 6.2.
static __always_inline bool is_plain(void)
{
	return bpf_core_field_exists(((struct mm_struct___plain *)0)->rss_stat.count[0].counter);
}

// As proposed.
static __always_inline bool is_tree(void)
{
	return bpf_core_field_exists(((struct mm_struct___tree *)0)->rss_stat[0].level0);
}
