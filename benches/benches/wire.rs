//! Cost of Erlang's terms and of the distribution's frames, without sockets: what a node can reach
//! at most on one thread.
//!
//! `decode` scans a received term and makes a `Term` of it, `decode unordered` does so for a map
//! whose pairs come in another order than that of their keys. `build` writes a term, `compare` and
//! `hash` read two equal ones, `serde` goes through a derived type. `receive` takes frames of a
//! small message out of a stream and reads their control messages; `encode` writes such frames;
//! `large` writes and receives a message in parts. Throughputs are bytes of encoded terms or
//! frames. Figures are for comparing two builds on one machine, not for other machines.

use std::hint::black_box;

use atropos_dist::term::{Limits, PidRef, Term, TermBuilder, from_term, to_term};
use atropos_dist::wire::{Control, Encoded, Event, Flags, Receiver, WireLimits, encode};
use bytes::{BufMut as _, Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const LIMITS: Limits = Limits { depth: 1_000_000 };

fn pid(node: &str) -> PidRef<'_> {
    PidRef { node, id: 1234, serial: 0, creation: 1_700_000_000 }
}

/// `{'$gen_call', {Pid, [alias | Ref]}, {put, Key, Value}}` and the like.
fn terms() -> Vec<(&'static str, Term)> {
    let new = TermBuilder::new;
    let call = new().tuple(3).atom("$gen_call").tuple(2).pid(pid("client@127.0.0.1")).list(1).atom("alias");
    let call = call.integer(1_i64 << 40).tuple(3).atom("put").binary(b"some key").integer(42).finish();
    let triples = (0..1000).fold(new().list(1000), |new, index| new.tuple(3).atom("item").integer(index).float(0.5));
    let map = (0..30).fold(new().map(30), |new, index| new.atom(&format!("key{index:02}")).integer(index));
    vec![
        ("atom", Term::atom("ok")),
        ("call", call),
        ("list of 1,000 tuples", triples.nil().finish()),
        ("map of 30 atoms", map.finish()),
        ("binary of 64 KiB", Term::binary(&[7; 65_536])),
    ]
}

/// A map of 1,000 integers in the order of nothing.
fn unordered() -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(116);
    out.put_u32(1000);
    for at in 0..1000_u64 {
        let key = at * 389 % 1000;
        out.put_slice(&[98, 0, 1, (key >> 8) as u8, key as u8, 97, 1]);
    }
    out.freeze()
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("term");
    for (name, term) in terms() {
        let bytes = term.to_bytes();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| Term::decode(black_box(&bytes), LIMITS).expect("a term"));
        });
        let other = term.detached();
        group.bench_function(BenchmarkId::new("compare", name), |bencher| {
            bencher.iter(|| black_box(&term).cmp(black_box(&other)));
        });
        group.bench_function(BenchmarkId::new("build", name), |bencher| {
            bencher.iter(|| TermBuilder::new().tuple(2).atom("reply").term(black_box(&term)).finish());
        });
    }
    let map = unordered();
    group.throughput(Throughput::Bytes(map.len() as u64));
    group.bench_function("decode unordered", |bencher| {
        bencher.iter(|| Term::decode(black_box(&map), LIMITS).expect("a term"));
    });
    type Row = (u64, String, Vec<u32>);
    let rows: Vec<Row> = (0..100).map(|index| (index, format!("row {index}"), vec![1000; 5])).collect();
    let term = to_term(&rows).expect("serializable");
    group.throughput(Throughput::Bytes(term.as_bytes().len() as u64));
    group.bench_function("serde to", |bencher| bencher.iter(|| to_term(black_box(&rows)).expect("serializable")));
    group.bench_function("serde from", |bencher| {
        bencher.iter(|| from_term::<Vec<Row>>(black_box(&term)).expect("the same type"));
    });
    group.finish();
}

/// Reads all frames, and returns how many messages there are.
fn receive(flags: Flags, bytes: &[u8]) -> usize {
    let mut receiver = Receiver::new(flags, WireLimits::default(), BytesMut::new());
    let mut messages = 0;
    // As a socket gives them.
    for piece in bytes.chunks(32 * 1024) {
        receiver.space().put_slice(piece);
        while let Some(event) = receiver.next().expect("frames") {
            if let Event::Message(message) = event {
                black_box(message.read().expect("a control message"));
                messages += 1;
            }
        }
    }
    messages
}

fn frames(criterion: &mut Criterion) {
    const COUNT: usize = 1000;
    let mut group = criterion.benchmark_group("frame");
    let (from, to) = (pid("client@127.0.0.1"), pid("server@127.0.0.1"));
    for (form, flags) in
        [("with header", Flags::HIDDEN_NODE), ("passed through", Flags::HIDDEN_NODE.difference(Flags::FRAGMENTS))]
    {
        let message = terms().swap_remove(1).1;
        let control = Control::Send { from: Some(from), to, message };
        let mut stream = BytesMut::new();
        let fill = |stream: &mut BytesMut| {
            for _ in 0..COUNT {
                assert!(matches!(encode(black_box(&control), flags, stream), Ok(Encoded::Whole)));
            }
        };
        fill(&mut stream);
        group.throughput(Throughput::Elements(COUNT as u64));
        let mut out = BytesMut::with_capacity(stream.len());
        group.bench_function(BenchmarkId::new("encode", form), |bencher| {
            bencher.iter(|| {
                out.clear();
                fill(&mut out);
            });
        });
        group.bench_function(BenchmarkId::new("receive", form), |bencher| {
            bencher.iter(|| assert_eq!(receive(flags, black_box(&stream)), COUNT));
        });
    }
    let message = Term::binary(&vec![7; 10 << 20]);
    let control = Control::Send { from: Some(from), to, message };
    group.throughput(Throughput::Bytes(10 << 20));
    group.bench_function("large", |bencher| {
        bencher.iter_batched(
            || BytesMut::with_capacity(11 << 20),
            |mut stream| {
                let Ok(Encoded::Large(large)) = encode(&control, Flags::HIDDEN_NODE, &mut stream) else {
                    unreachable!("10 MiB is large")
                };
                let mut parts = large.parts(1);
                while let Some(rest) = parts.next_frame(&mut stream) {
                    stream.put_slice(&rest);
                }
                assert_eq!(receive(Flags::HIDDEN_NODE, &stream), 1);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, codec, frames);
criterion_main!(benches);
