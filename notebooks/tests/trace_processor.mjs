// Perfetto's trace processor, as its user interface has it: a WebAssembly program that a browser runs in a worker.
//
// Takes its requests from stdin and writes its answers to stdout, both in the protocol of `trace_processor server stdio`.
//
//     node trace_processor.mjs DIRECTORY     # with engine_bundle.js and trace_processor*.wasm

import { readFileSync, writeSync } from "node:fs";
import { basename, join } from "node:path";

const directory = process.argv[2];

// What a worker has. The bundle refuses to run elsewhere, so that what tells of node is hidden from it.
const worker = { location: { href: "file:///" } };
class FileRequest {
  open(_method, path) {
    this.path = join(directory, basename(path));
  }
  send() {
    this.response = readFileSync(this.path);
  }
}
// What it warns of is that it has no files here, and what it says is how far it is.
const console = { log: () => {}, warn: () => {}, error: (line) => writeSync(2, `${line}\n`) };
const globals = { self: worker, process: undefined, WorkerGlobalScope: Object, XMLHttpRequest: FileRequest, console };
const source = readFileSync(join(directory, "engine_bundle.js"), "utf8");
new Function(...Object.keys(globals), source)(...Object.values(globals));

const port = {
  postMessage(answer) {
    for (let written = 0; written < answer.length; ) written += writeSync(1, answer, written);
  },
};
worker.onmessage({ data: port });
// It is loaded at once, and takes requests when no promise is left to be kept.
await new Promise(setImmediate);
for await (const bytes of process.stdin) port.onmessage({ data: new Uint8Array(bytes) });
