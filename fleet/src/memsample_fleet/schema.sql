-- The tables of the fleet, version 2. All times are those of the database's clock.

CREATE TABLE fleet_schema (version integer NOT NULL);
INSERT INTO fleet_schema VALUES (2);

-- When a worker last looked for claims that expired and runs to publish: one of them at a time.
CREATE TABLE sweeps (swept_at timestamptz NOT NULL);
INSERT INTO sweeps VALUES (clock_timestamp());

-- Suites as archives, by content.
CREATE TABLE archives (
    sha256 text PRIMARY KEY,
    data bytea NOT NULL CHECK (octet_length(data) <= 67108864),
    submitted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What a beat released, and what came of it.
CREATE TABLE releases (
    release_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    due_at timestamptz NOT NULL,            -- when it was to begin
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    give_up_at timestamptz NOT NULL,        -- then what has not ended is cancelled
    parts integer NOT NULL,                 -- jobs that it has when all are submitted
    verdict text CHECK (verdict IN ('passed', 'failed', 'incomplete', 'missed')),
    message text,
    ended_at timestamptz,
    hook_begun_at timestamptz,
    hook_exit integer,                      -- exit code; 128 and the signal that ended it
    hook_said text,                         -- the end of its output
    image text,                             -- path of the image that it began with
    image_sha256 text,
    compare text CHECK (compare IN ('once', 'again')),
    compare_options text[] NOT NULL DEFAULT '{}',
    UNIQUE (name, due_at),
    UNIQUE (name, image_sha256)
);

-- When each release was first looked for: what was due before is none of ours.
CREATE TABLE schedules (
    name text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    there jsonb                             -- files that its directory of images had then: begun with none of them
);

-- The images that each release knows.
CREATE TABLE known_images (
    name text NOT NULL,                     -- of the release
    sha256 text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, sha256)
);

-- What one submit asks for: `repeat` runs of a suite.
CREATE TABLE jobs (
    job_id text PRIMARY KEY,
    suite text NOT NULL,                -- name for people
    sha256 text NOT NULL REFERENCES archives,
    suite_path text NOT NULL,           -- the suite in the archive
    labels text[] NOT NULL,
    queue text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    options text[] NOT NULL,            -- further options of `memsample run`
    most_attempts smallint NOT NULL CHECK (most_attempts > 0),
    submitted_by text NOT NULL,
    submitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cancelled_at timestamptz,           -- when it was asked to be cancelled
    release_id bigint REFERENCES releases ON DELETE SET NULL,
    part integer,                       -- of the release; what is run again for its comparison comes behind
    image_sha256 text,                  -- a device must have this image
    image text,                         -- its file name, for people
    UNIQUE (release_id, part)
);
CREATE INDEX ON jobs (submitted_at);

-- One execution of the suite that is asked for.
CREATE TABLE runs (
    run_id text PRIMARY KEY,
    job_id text NOT NULL REFERENCES jobs ON DELETE CASCADE,
    number integer NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,   -- claims so far
    published_at timestamptz,               -- when a message last went to the broker
    tests integer,                          -- of the suite, known once it began
    tests_ended integer NOT NULL DEFAULT 0,
    note text,                              -- why it waits, if a worker said so
    ended boolean NOT NULL DEFAULT false,   -- there is a result
    UNIQUE (job_id, number)
);
CREATE INDEX runs_open ON runs (published_at) WHERE NOT ended;

-- The log of claims: who was to execute a run, from when to when.
CREATE TABLE claims (
    claim_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt smallint NOT NULL,
    worker text NOT NULL,
    lease interval NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    how_ended text CHECK (how_ended IN ('finished', 'given back', 'expired')),
    why text,
    UNIQUE (run_id, attempt),
    CHECK ((ended_at IS NULL) = (how_ended IS NULL))
);
-- At most one claim of a run is open.
CREATE UNIQUE INDEX claims_open ON claims (run_id) WHERE ended_at IS NULL;
CREATE INDEX claims_expire ON claims (expires_at) WHERE ended_at IS NULL;

CREATE TABLE results (
    run_id text PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    outcome text NOT NULL,              -- of `memsample run`; or cancelled, lost, refused
    exit_code smallint NOT NULL,        -- of `memsample run`, or what stands for it
    message text,
    worker text,
    attempt smallint,
    counts jsonb,                       -- tests by outcome
    not_passed jsonb,                   -- tests that did not pass: name, outcome, message
    stored_as text,                     -- name of the run in the store
    store text,                         -- URL of the store, or the directory on the worker
    memsample_version text,
    started_at timestamptz,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE log_lines (
    run_id text NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt smallint NOT NULL,
    line integer NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (run_id, attempt, line)
);

CREATE TABLE workers (
    worker text PRIMARY KEY,
    host text NOT NULL,
    boot text NOT NULL,                     -- id of the boot of its machine
    labels text[] NOT NULL,
    fleet_version text NOT NULL,
    memsample_version text NOT NULL,
    clock_off_s double precision NOT NULL,  -- the worker's clock minus the database's
    clock_error_s double precision NOT NULL,
    free_bytes bigint NOT NULL,             -- of its directory's file system
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    left_at timestamptz,                    -- when it ended in order
    note text
);

-- Devices that a worker serves over ssh; each is a worker of its name too.
CREATE TABLE devices (
    device text PRIMARY KEY,
    host text NOT NULL,                     -- the worker that serves it
    kind text NOT NULL,
    address text NOT NULL,
    labels text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('checking', 'ready', 'provisioning', 'recovering', 'aside')),
    why text,                               -- it was put aside; or what it is provisioned with
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    image text,                             -- file name of the image that it was provisioned with
    image_sha256 text,                      -- NULL: what is on it is not known
    failed_sha256 text,                     -- the image that it could not be provisioned with
    provisioned text[] NOT NULL DEFAULT '{}',
    checked_at timestamptz,                 -- when it last passed its health check
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
