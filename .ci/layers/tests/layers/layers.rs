//! The modules at the root of each package, from the lowest layer to the highest.

/// The root file of each package, with its layers: a module imports only from the lines above its own.
/// Modules on one line are one layer, and import nothing from each other.
pub(crate) const PACKAGES: [(&str, &[&str]); 21] = [
    (
        "memsample/beneath/src/lib.rs",
        &["opening", "regular temporary", "directory", "removal", "new_directory private"],
    ),
    (
        "memsample/bpf/src/lib.rs",
        &[
            "cpus end ring row",
            "refused system_call",
            "form parts shared_map skeleton",
            "list",
            "each_task ends",
            "array walk",
        ],
    ),
    (
        "memsample/src/lib.rs",
        &[
            // The vocabulary.
            "clock columns counts error metric pattern replace_file scope slot units",
            "host identity parse slot_map codec",
            // Where things are, and what the kernel reports.
            "cgroups events proc role role_rule",
            "identity_rules schema",
            // Values of the machine, and what a tick changed.
            "batch cgroup_reader",
            "journal sampler segment",
            "machine process_reader recording",
            // Recordings are made, and read.
            "analysis excerpt import kernel_source recorder view",
            "flight fuzzing simulated_tests",
        ],
    ),
    (
        "memsampled/input/src/lib.rs",
        &[
            "ascii byte_size causes column_block count markdown printable rounded_size secret_file source span width",
            "problem table",
            "file",
        ],
    ),
    (
        "memsampled/inherited/src/lib.rs",
        &[
            "advice arrivals heap locale patience room signals stack",
            "streams",
            "init queue",
            "log",
        ],
    ),
    ("memsampled/fork/src/lib.rs", &["system_call threads", "descriptors", "child"]),
    ("memsampled/client/src/lib.rs", &["socket wire", "client from_library"]),
    (
        "memsampled/compare/src/lib.rs",
        &[
            "quantity statistics suspects",
            "decision environment limit sides",
            "releases",
            "history trend",
            "comparison",
            "repeats report",
        ],
    ),
    (
        "memsampled/explain/src/lib.rs",
        &["kills limits subject", "change last_second", "explanation", "text"],
    ),
    (
        "memsampled/export/src/lib.rs",
        &[
            "figures series table trace",
            "arrow bencher csv jenkins_plot openmetrics chrome",
            "gitlab perfetto",
        ],
    ),
    ("memsampled/config/src/lib.rs", &["dashboard limits wrong_value", "flight", "daemon", "file"]),
    (
        "memsampled/daemon/src/lib.rs",
        &[
            "beside disk failure lock memory_limit options protection push_queue signals",
            "listen names peer target",
            "guard marked_pid recordings running_tests work",
            "flight recovery retention session",
            "live sessions",
            "state",
            "automatic_dumps connections dashboard metrics pusher runtime watch",
            "routes",
            "serve",
        ],
    ),
    (
        "memsampled/leaks/src/lib.rs",
        &["judgement marks series", "csv_file role_series slope swings", "shape", "judge", "roles"],
    ),
    (
        "memsampled/remote/src/lib.rs",
        &[
            "address error follow hash patience script",
            "sent",
            "program",
            "fetch payload",
            "connection job probe",
            "device",
            "run",
        ],
    ),
    (
        "memsampled/report/src/lib.rs",
        &["curve", "recorded sparkline", "report side_by_side", "wording", "html markdown text"],
    ),
    (
        "memsampled/top/src/lib.rs",
        &[
            "amount cgroup_limits growth own_cost sparkline",
            "frame",
            "row_key source this_machine",
            "live trail",
            "replay rows sampler_feed",
            "app",
            "screen",
            "show",
        ],
    ),
    (
        "memsampled/runner/src/lib.rs",
        &["output replace suite", "results", "plan sandbox", "doctor run", "report"],
    ),
    (
        "memsampled/serve/src/lib.rs",
        &[
            "badge compaction fleet guard index link",
            "history reports wording",
            "notices",
            "refresh webhook",
            "answers api compared",
            "feed pages",
            "server",
        ],
    ),
    (
        "memsampled/store/src/lib.rs",
        &[
            "encryption error hash lock_holder row_groups tree",
            "address endpoint layout profile reach",
            "answer directory_kind google manifest run_directory",
            "parts",
            "connect",
            "runs source",
            "in_place",
            "store",
            "seen",
            "download lock push releases",
            "compact pull verify",
            "prune",
        ],
    ),
    (
        "memsampled/src/memsample/main.rs",
        &[
            "exit",
            "child config_args duration json_output known_recordings live_terminal pattern plain_table reference share signals text",
            "command_hint command_line command_usage instant recording_path",
            "doctor ls recover run_or_recording summary",
            "anonymize control cut export leaks peaks report store view",
            "compare record",
            "explain trend",
            "exec import run serve session top",
        ],
    ),
    ("memsampled/src/memsampled/main.rs", &["args"]),
];
