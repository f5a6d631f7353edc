// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// The counters of resident pages as kernels have them or may have them, with other members around. KERNEL says which.
typedef struct {
	long counter;
} atomic_long_t;

#if KERNEL == 1
// Linux 6.2 to 6.18.
struct percpu_counter {
	struct {
		int raw;
	} lock;
	long count;
	int *counters;
};
struct mm_struct {
	struct {
		int others[7];
		struct percpu_counter rss_stat[4];
	};
};
#elif KERNEL == 2
// Before Linux 6.2.
struct mm_rss_stat {
	atomic_long_t count[4];
};
struct mm_struct {
	struct {
		int others[5];
		struct mm_rss_stat rss_stat;
	};
};
#elif KERNEL == 3
// As proposed for kernels after 6.19.
struct percpu_counter_tree_level_item {
	struct {
		int counter;
	} count;
};
struct percpu_counter_tree {
	unsigned int *level0;
	unsigned int level0_bit_mask;
	union {
		unsigned int *i;
		void *a;
	} approx_sum;
	int bias;
	struct percpu_counter_tree_level_item *items;
	unsigned int batch_size;
	unsigned int inaccuracy;
};
struct mm_struct {
	struct {
		int others[3];
		struct percpu_counter_tree rss_stat[4];
	};
};
#else
// What nobody has proposed.
struct something {
	long sum;
};
struct mm_struct {
	struct {
		int others[3];
		struct something rss_stat[4];
	};
};
#endif

struct mm_struct memory_of_a_process;
