//! The client libraries that programs use, unmodified: PyPI's `redis`, npm's `redis` and `ioredis`.
//! `cargo xtask test` installs them under the build's folder (`tools/src/need.rs`), and passes the
//! path in `ATROPOS_REDIS_CLIENTS`.

use std::path::PathBuf;
use std::process::Command;

use crate::server;

/// Returns the folder with these files, if it exists; otherwise prints that the test is skipped.
fn installed(what: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ATROPOS_REDIS_CLIENTS").map(|folder| PathBuf::from(folder).join(what));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("SKIPPED: {what} is not installed: cargo xtask test does so, where it can");
    }
    folder
}

#[track_caller]
fn run(mut command: Command) {
    let out = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("all is well"), "{text}");
}

/// Issue 14, 23: PyPI's `redis`, in both protocols.
#[test]
fn n23_redis_py() {
    let Some(folder) = installed("python") else { return };
    let server = server();
    for protocol in ["2", "3"] {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &folder).args(["-c", PYTHON, &server.at.port().to_string(), protocol]);
        run(command);
    }
}

const PYTHON: &str = r#"
import sys, threading, redis
r = redis.Redis(port=int(sys.argv[1]), protocol=int(sys.argv[2]), client_name="py", socket_timeout=30)
r.flushall()
assert r.set("k", "v", ex=100) and r.get("k") == b"v" and r.ttl("k") == 100
assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "zz") == [b"1", b"2", None]
assert r.pipeline(transaction=False).set("x", 1).incr("x").get("x").execute() == [True, 2, b"2"]
assert r.pipeline().set("x", 1).incr("x").get("x").execute() == [True, 2, b"2"]
for i in range(500): r.set("scan:%d" % i, i)
assert len(set(r.scan_iter("scan:*", count=50))) == 500 and len(r.keys("scan:*")) == 500
assert r.config_get("maxmemory") == {"maxmemory": "0"} and r.info()["connected_clients"] >= 1
assert r.client_getname() in ("py", b"py") and any(c["name"] == "py" for c in r.client_list())
assert "get" in r.command() and r.command_count() == len(r.command()) and r.dbsize() == 504
big = b"x\r\n" * 5_000_000
assert r.set(b"\x00\r\n\xff", big) and r.get(b"\x00\r\n\xff") == big
try: redis.Redis(port=int(sys.argv[1]), protocol=int(sys.argv[2]), db=3).ping(); assert False
except redis.ResponseError as e: assert "out of range" in str(e)
def adds():
    for _ in range(50): r.transaction(lambda p: (n := int(p.get("n") or 0), p.multi(), p.set("n", n + 1)), "n")
ts = [threading.Thread(target=adds) for _ in range(3)]; [t.start() for t in ts]; [t.join() for t in ts]
assert r.get("n") == b"150", r.get("n")
print("all is well")
"#;

/// Issue 14, 23: npm's `redis` and `ioredis`.
#[test]
fn n23_node() {
    let Some(folder) = installed("node") else { return };
    let server = server();
    let mut command = Command::new("node");
    command.current_dir(&folder).args(["--input-type=commonjs", "-e", NODE, &server.at.port().to_string()]);
    run(command);
}

const NODE: &str = r#"
const assert = require('assert'); const { createClient } = require('redis'); const Redis = require('ioredis');
const port = +process.argv[process.argv.length - 1];
(async () => {
  for (const RESP of [2, 3]) {
    const c = createClient({ url: `redis://127.0.0.1:${port}`, RESP, socket: { reconnectStrategy: false } });
    c.on('error', e => { throw e });
    await c.connect();
    assert.equal(await c.set('k', 'v', { EX: 10 }), 'OK'); assert.equal(await c.get('k'), 'v');
    assert.deepEqual(await c.multi().set('a', 1).incr('a').exec(), ['OK', 2]);
    await Promise.all(Array.from({ length: 1000 }, (_, i) => c.set('k' + i, '' + i)));
    let n = 0; for await (const keys of c.scanIterator({ MATCH: 'k*' })) n += Array.isArray(keys) ? keys.length : 1;
    assert.equal(n, 1001);
    await c.close();
  }
  const io = new Redis(port, { retryStrategy: null, maxRetriesPerRequest: 0 });
  assert.equal(await io.set('k', 'v', 'EX', 10), 'OK'); assert.equal(await io.get('k'), 'v');
  assert.deepEqual(await io.pipeline().set('a', 1).incr('a').exec(), [[null, 'OK'], [null, 2]]);
  assert.deepEqual(await io.multi().set('a', 1).incr('a').exec(), [[null, 'OK'], [null, 2]]);
  io.disconnect();
  console.log('all is well'); process.exit(0);
})().catch(e => { console.error(e); process.exit(1) });
"#;
