#!/usr/bin/env python3
"""Draws the diagrams of the book: python3 docs/images/draw.py

Each diagram is a text. A line is one of
    size W H
    box X Y W H KIND | line | line ...      KIND: word, act, data, plain, dark
    text X Y SIZE ANCHOR | text             ANCHOR: start, middle, end
    arrow X Y X Y ... | label @ X Y ANCHOR  a polyline with a head at its end; the label is optional
    line X Y X Y ...                        the same without a head, dashed
The drawings have an opaque light background, so that they can be read on a dark page.
"""
import html
import pathlib

FILL = {"word": "#dbe9f6", "act": "#fdebd3", "data": "#e3f1dc", "plain": "#f4f4f2", "dark": "#e3dff0"}
EDGE = {"word": "#3b6ea5", "act": "#b3742a", "data": "#4f8a3c", "plain": "#777777", "dark": "#6a5a9c"}
FONT = "font-family=\"'DejaVu Sans', Verdana, sans-serif\""

CRATES = """
size 1060 480
text 30 34 16 start | Crates: an arrow points to what a crate uses
text 30 58 12 start | dashed: only with the features relay or node; only for the models of dist-adapter; only in the tests
box 60 396 940 52 word | kernel (atropos-kernel) | mechanisms: no_std + alloc, no thread, clock, global or thread-local
box 60 296 140 52 data | bare-adapter | one hart, no OS
box 240 296 180 52 act | otp (atropos-otp) | policy, no unsafe, no_std
box 440 296 180 52 act | facility | traits over raw pids, no_std
box 660 296 140 52 plain | loom-tests | shuttle-tests, benches
box 860 296 140 52 data | sim-adapter | simulated cores
box 240 196 380 52 data | std-adapter (atropos) | a thread per core, Tokio; uses the kernel directly too
box 660 196 140 52 data | dist-adapter | Erlang clusters
box 860 196 140 52 plain | reference | OTP's rules as a model
box 60 96 140 52 plain | peers | own workspace
box 240 96 140 52 plain | bench-harness | workloads
box 396 96 100 52 plain | chaos | programs
box 512 96 140 52 plain | conformance | recorded cases
box 660 96 140 52 act | node | a program
box 860 96 140 52 plain | fuzz | own workspace
arrow 130 348 130 396
arrow 330 348 330 396
arrow 530 348 530 396
arrow 730 348 730 396
arrow 930 348 930 396
arrow 330 248 330 296
arrow 530 248 530 296
arrow 200 122 240 122
arrow 310 148 310 196
arrow 446 148 446 196
arrow 566 148 566 196
arrow 576 96 576 78 840 78 840 310 860 310
arrow 730 148 730 196
arrow 930 148 930 196
arrow 930 248 930 296
arrow 800 328 860 328
line 660 212 620 212 | features @ 640 190 middle
arrow 660 248 660 270 634 270 634 396
line 770 296 770 248 | models @ 778 276 start
line 380 348 380 366 880 366 880 348 | tests of kernel and otp @ 430 381 middle
"""

LAYERS = """
size 860 560
text 30 34 16 start | Layers of the kernel: each uses only the layers below it
box 30 54 800 56 act | api: what a process or a host calls | cx, task, caller, host, body, send_reservation
box 30 118 800 56 act | sched: the loop of a core | core, turn, stall
box 30 182 800 66 act | ops: what happens to a process | spawn, exit, drain, relations, request, query, timer, owner_op, host_watch | acts on the words of the layers below
box 30 256 800 56 data | kernel: what all cores share, and the running slice | kernel, core_local, custody, pace, kernel_cx, slice, current, platform
box 30 320 800 66 word | process: the words and records of a process | header, owned, table, name, alias, link, monitor, host_watch, request cell, timer record | decides by one word; calls nothing above
box 30 394 395 56 word | mailbox: what has arrived | word, batch, capacity, limit
box 435 394 395 56 word | signal: what travels | node, message, exit_signal, target
box 30 458 220 42 data | runq | ring, inbox, idle, newborn_deque
box 257 458 130 42 data | timer | wheel, inbox
box 394 458 220 42 data | reclaim | epoch, quiescent, return_queue
box 621 458 209 42 data | intrusive | list, record_set, refcount
box 30 508 395 42 plain | memory | pool, depot
box 435 508 395 42 plain | leaves | pid, reason, sync, config, mutation, shipped, catch_drop, kernel_ptr
"""

PROCESS = """
size 860 400
text 30 34 16 start | Life cycle of a process
box 30 90 140 56 act | newborn | memory and pid exist
box 270 90 120 56 word | queued | in a run queue
box 470 90 140 56 word | running | a slice on one core
box 470 230 140 56 data | waiting | mailbox IDLE
box 260 230 140 56 data | claimed | owned by a claimer
box 690 90 140 56 dark | dying | mailbox CLOSED
box 690 230 140 56 dark | dead | tombstone in the slot
box 690 330 140 44 plain | slot reused | next generation
box 30 230 140 56 dark | doomed | reason is written
arrow 170 118 270 118 | publish, queue @ 220 110 middle
arrow 390 108 470 108 | pop, steal @ 430 100 middle
arrow 470 132 390 132 | slice ends @ 430 148 middle
arrow 535 146 535 230 | sleep @ 543 192 start
arrow 500 230 500 188 370 188 370 146 | push wakes @ 440 182 middle
arrow 470 258 400 258 | claim @ 435 250 middle
arrow 335 230 335 146 | queue it @ 341 214 start
arrow 260 258 170 258 | foreign drop @ 215 250 middle
arrow 100 230 100 188 295 188 295 146 | queue to die @ 190 182 middle
arrow 330 286 330 312 650 312 650 130 690 130 | exit inline: nothing foreign to drop @ 490 304 middle
arrow 610 108 690 108 | fatal @ 648 98 middle
text 650 78 11 middle | return, exit signal, panic
arrow 760 146 760 230 | teardown done @ 752 192 end
arrow 760 286 760 330
text 30 385 11 start | A suspended process goes through the same states; its body is not resumed while it is suspended.
"""

MAILBOX = """
size 860 380
text 30 34 16 start | The mailbox word: one atomic head decides whether a process runs
box 60 120 190 64 data | IDLE | waiting, nothing pending
box 590 120 230 64 word | ACTIVE (null) | queued or running, nothing pending
box 310 220 230 64 act | a node | queued or running, signals pending
box 600 300 200 52 dark | CLOSED | dying or dead, for ever
arrow 155 184 155 240 310 240 | 1 push; the sender @ 165 204 start
arrow 700 184 700 232 540 232 | 2 push @ 620 224 middle
arrow 450 284 450 310 380 310 380 284 | 2 push @ 415 326 middle
arrow 430 220 430 168 590 168 | 3 take, by the owner @ 440 160 start
arrow 590 132 250 132 | 4 sleep, by the owner @ 425 126 middle
arrow 155 120 155 80 700 80 700 120 | 6 claim, by any thread; the claimer must queue the process or end it @ 425 72 middle
arrow 540 262 565 262 565 326 600 326 | 5 close, by the owner @ 572 292 start
text 165 220 11 start | queues the process
text 60 340 11 start | 5 close leads from every state to CLOSED.
text 60 356 11 start | A push on CLOSED returns the node to its sender.
"""

MESSAGE = """
size 860 500
text 30 34 16 start | The path of a message
box 30 52 230 48 plain | sender | its core, or a host thread
box 315 56 230 40 word | mailbox of the receiver
box 600 56 230 40 plain | receiver's core
line 145 96 145 480
line 430 96 430 480
line 715 96 715 480
arrow 145 130 430 130 | 1 find the receiver by pid; push a node @ 287 122 middle
arrow 430 166 145 166 | 2 result: was the head IDLE? @ 287 158 middle
text 155 190 11 start | busy receiver: done, it will see the node
arrow 145 224 715 224 | 3 idle receiver: the sender queues the process, wakes a core if one sleeps @ 430 216 middle
arrow 715 268 430 268 | 4 pop the process; take all nodes: one exchange @ 572 260 middle
text 725 294 11 start | 5 handle each
text 725 310 11 start | signal in order
box 620 326 190 40 act | exit, link, ... | acted on at once
box 620 374 190 40 act | message, DOWN | to the private queue
arrow 715 414 715 436 | 6 resume the body: receive @ 705 430 end
arrow 715 462 430 462 | 7 nothing new: sleep, head becomes IDLE @ 572 454 middle
text 155 300 11 start | Shortcut: a plain message to an idle
text 155 316 11 start | receiver needs no node exchange. The
text 155 332 11 start | sender claims the mailbox, appends to
text 155 348 11 start | the private queue, queues the process.
"""

RESTART = """
size 860 570
text 30 34 16 start | How a supervisor restarts a child (one_for_all)
box 30 56 180 40 dark | child (crashes)
box 330 56 200 40 word | supervisor
box 640 56 190 40 data | siblings, new children
line 120 96 120 200
line 430 96 430 530
line 740 96 740 530
arrow 120 130 430 130 | 1 teardown fires one DOWN @ 275 122 middle
text 130 148 11 start | link and monitor in one record
box 340 148 180 42 act | 2 count the restart | intensity, history
text 530 166 11 start | too many: stop all,
text 530 182 11 start | end with shutdown
arrow 430 226 740 226 | 3 stop the siblings, last started first @ 585 218 middle
text 440 250 11 start | asleep, nothing to destroy: exits inline
text 440 266 11 start | asleep, destructors: exits in its own slice
text 440 282 11 start | awake or trapping: shutdown, timeout, then kill
arrow 740 312 430 312 | DOWN of each @ 585 304 middle
box 340 336 180 42 act | 4 start functions | in order, panics caught
arrow 520 358 740 358 | spawn @ 630 350 middle
arrow 740 400 430 400 | 5 init result: up, ignore, or error @ 585 392 middle
arrow 430 428 400 428 400 452 430 452 | 6 a start failed: message to itself, behind what has come @ 392 444 end
box 340 476 180 42 act | 7 next signal | in its old order
text 30 552 11 start | During a stop the supervisor takes only the DOWNs of the stopped children out of its mailbox; other signals keep their place.
"""


def escape(text):
    return html.escape(text.strip(), quote=False)


def label_at(x, y, anchor, font, bold, text):
    """A text twice: first its outline in the colour of the page, so that a line behind it does not disturb it."""
    place = f'x="{x}" y="{y}" text-anchor="{anchor}" font-size="{font}"{bold} {FONT}'
    outline = f'<text {place} fill="#fdfdfb" stroke="#fdfdfb" stroke-width="4">{escape(text)}</text>'
    return [outline, f'<text {place} fill="#333333">{escape(text)}</text>']


def draw(source):
    body, size = [], (860, 400)
    for row in source.strip().splitlines():
        head, _, tail = row.partition("|")
        word, *rest = head.split()
        if word == "size":
            size = tuple(map(int, rest))
        elif word == "box":
            x, y, w, h = map(int, rest[:4])
            kind = rest[4]
            body.append(
                f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{FILL[kind]}" stroke="{EDGE[kind]}" stroke-width="1.5"/>'
            )
            lines = tail.split("|")
            top = y + h / 2 - (len(lines) - 1) * 8 + 4.5
            for i, line in enumerate(lines):
                bold = ' font-weight="bold" font-size="13"' if i == 0 else ' font-size="11"'
                body.append(
                    f'<text x="{x + w / 2:g}" y="{top + i * 16:g}" text-anchor="middle"{bold} {FONT} fill="#222222">{escape(line)}</text>'
                )
        elif word == "text":
            x, y, font, anchor = rest
            bold = ' font-weight="bold"' if int(font) > 13 else ""
            body += label_at(x, y, anchor, font, bold, tail)
        else:
            points = " ".join(f"{x},{y}" for x, y in zip(rest[::2], rest[1::2]))
            style = 'stroke-dasharray="5 4"' if word == "line" else 'marker-end="url(#head)"'
            body.append(f'<polyline points="{points}" fill="none" stroke="#555555" stroke-width="1.5" {style}/>')
            if tail:
                label, _, place = tail.rpartition("@")
                x, y, anchor = place.split()
                body += label_at(x, y, anchor, "11", "", label)
    w, h = size
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}">',
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">',
            '<path d="M0 0 L10 5 L0 10 z" fill="#555555"/></marker></defs>',
            f'<rect x="0.5" y="0.5" width="{w - 1}" height="{h - 1}" rx="8" fill="#fdfdfb" stroke="#cccccc"/>',
            *body,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    drawings = {"crates": CRATES, "layers": LAYERS, "process": PROCESS, "mailbox": MAILBOX, "message": MESSAGE, "restart": RESTART}
    for name, source in drawings.items():
        (folder / f"{name}.svg").write_text(draw(source), encoding="utf-8")
