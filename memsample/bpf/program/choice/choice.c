// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0
// Loads choice.bpf.c as kernels with other structures would, and fails where it does not return what is expected.
//
// Arguments: the object, and pairs of a file with the description of a kernel and the expected number.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>

static int choice_of(const char *object_path, const char *kernel)
{
	LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = kernel);
	char packet[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof(packet));
	struct bpf_object *object = bpf_object__open_file(object_path, &open);
	if (!object || bpf_object__load(object))
		return -1;
	struct bpf_program *program = bpf_object__find_program_by_name(object, "choice");
	int answer = bpf_prog_test_run_opts(bpf_program__fd(program), &run);
	bpf_object__close(object);
	return answer ? -1 : (int)run.retval;
}

int main(int count, char **argument)
{
	for (int i = 2; i + 1 < count; i += 2) {
		int choice = choice_of(argument[1], argument[i]);
		if (choice != atoi(argument[i + 1])) {
			fprintf(stderr, "%s: %d instead of %s\n", argument[i], choice, argument[i + 1]);
			return 1;
		}
	}
	return 0;
}
