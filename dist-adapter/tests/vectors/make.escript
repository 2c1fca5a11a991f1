#!/usr/bin/env escript
%% Writes terms.txt: how Erlang/OTP 25 encodes, accepts, refuses, prints and orders terms. A line is a kind and hexadecimal
%% bytes without a version:
%%   keep B       what term_to_binary gives
%%   text B T     the same, and what io:format("~0tp") gives
%%   same A B     what binary_to_term makes of A is what term_to_binary writes as B
%%   bad B        binary_to_term refuses B
%%   order A B R  R is two of <, =, >: A with B by Erlang's operators, and as keys of maps
-mode(compile).

main([]) ->
    io:setopts([{encoding, unicode}]),
    [line("keep", [hex(body(T))]) || T <- kept()],
    [line("text", [hex(body(T)), text(T)]) || T <- printed()],
    [line("same", [hex(Odd), hex(body(binary_to_term(<<131, Odd/binary>>)))]) || Odd <- unusual()],
    [begin {'EXIT', _} = (catch binary_to_term(<<131, Bad/binary>>)), line("bad", [hex(Bad)]) end || Bad <- bad()],
    Ordered = ordered(),
    [line("order", [hex(body(A)), hex(body(B)), [order(A, B), order(#{A => x}, #{B => x})]])
     || {I, A} <- lists:enumerate(Ordered), {J, B} <- lists:enumerate(Ordered), I =< J, (I * J) rem 11 =:= 0 orelse J - I < 3].

line(Kind, Fields) -> io:put_chars([lists:join($\s, [Kind | Fields]), $\n]).
body(T) -> <<131, Body/binary>> = term_to_binary(T, [{minor_version, 2}]), Body.
hex(Bytes) -> string:lowercase(binary:encode_hex(Bytes)).
text(T) -> unicode:characters_to_binary(io_lib:format("~0tp", [T])).
order(A, B) when A < B -> $<;
order(A, B) when A > B -> $>;
order(_, _) -> $=.

pid(Node, Id, Serial, Creation) -> binary_to_term(<<131, 88, (atom(Node))/binary, Id:32, Serial:32, Creation:32>>).
ref(Node, Words, Creation) ->
    binary_to_term(<<131, 90, (length(Words)):16, (atom(Node))/binary, Creation:32, << <<W:32>> || W <- Words >>/binary>>).
port(Node, Id, Creation) -> binary_to_term(<<131, 120, (atom(Node))/binary, Id:64, Creation:32>>).
atom(Atom) -> Text = atom_to_binary(Atom), <<119, (byte_size(Text)), Text/binary>>.

%% Closures, of a module that is always compiled to the same.
fun_of(Value) ->
    Env = body(Value),
    Rest = <<1, 16#0123456789abcdef:64, 16#fedcba9876543210:64, 3:32, 1:32, (atom(some_module))/binary, 97, 3, 98, 12345678:32,
             88, (atom('a@b'))/binary, 9:32, 0:32, 7:32, Env/binary>>,
    binary_to_term(<<131, 112, (byte_size(Rest) + 4):32, Rest/binary>>).

kept() ->
    ['', a, 'with space', list_to_atom(lists:duplicate(255, $x)), list_to_atom(lists:duplicate(255, 16#e5)),
     list_to_atom(lists:duplicate(100, 16#65e5)), list_to_atom(lists:duplicate(63, 16#1f642)), list_to_atom(lists:duplicate(64, 16#1f642))]
    ++ [S * (1 bsl B + D) || B <- [0, 7, 8, 15, 16, 27, 28, 31, 32, 59, 60, 63, 64, 127, 128, 2039, 2040, 2048], D <- [-1, 0, 1], S <- [1, -1]]
    ++ [0.0, -0.0, 1.0, -1.5, 0.1, 5.0e-324, 1.7976931348623157e308]
    ++ [<<>>, <<0>>, binary:copy(<<1>>, 300), <<1:1>>, <<5:3>>, <<255, 0:7>>, <<-1:95>>]
    ++ [[], [1], "abc", [256], [255, 256], lists:duplicate(300, $s), [a | b], [1, 2 | 3], [[a | b] | c], [[]], [[], []], [1.0], ["ab" | <<"c">>]]
    ++ [{}, {a}, {{}, {{}}}, list_to_tuple(lists:seq(1, 255)), list_to_tuple(lists:seq(1, 256))]
    ++ [#{}, #{a => 1}, #{1 => a, 1.0 => b}, #{b => 1, a => 2, aa => 3, "a" => 4, <<"a">> => 5, {} => 6, [] => 7, #{} => 8},
        #{2 => x, 10 => x, -1 => x, 1 bsl 70 => x, 0.5 => x, -3.5 => x}, maps:from_list([{I, I} || I <- lists:seq(1, 32)])]
    ++ [pid('a@b', 1, 2, 3), pid('ü@hôte', 16#ffffffff, 16#ffffffff, 16#ffffffff), port('a@b', 1, 2), port('a@b', 1 bsl 28 - 1, 2),
        port('a@b', 1 bsl 28, 2), port('a@b', 1 bsl 63, 2)]
    ++ [ref('a@b', lists:seq(1, N), 7) || N <- [1, 2, 3, 4, 5]] ++ [ref('a@b', [1, 0, 0], 7)]
    ++ [fun lists:map/2, fun '':''/255, fun_of(x), fun_of(#{a => [1, 2]}), {fun_of({fun_of([]), 1.5})}].

printed() ->
    [a, 'b c', 'é', '日本', 'it\'s', 'end', 1, -17, 1 bsl 100, -(1 bsl 200), 1.5, 1.0e10, 123450.0, -0.0, <<>>, <<"text">>, <<"é"/utf8>>,
     <<1, 2>>, <<1, 2:3>>, [], "text", [1, 2, 3], [a | b], [[a], [b]], {}, {a, {b}}, #{}, #{a => b, 1 => [x]}, fun lists:map/2,
     {error, {badarg, [{m, f, [1, "x"], [{line, 3}]}]}}].

unusual() ->
    Float = <<99, (iolist_to_binary(string:pad(io_lib:format("~.20e", [2.5]), 31, trailing, 0)))/binary>>,
    [<<100, 0, 2, "ab">>, <<115, 2, "ab">>, <<100, 0, 1, 229>>, <<115, 1, 229>>, <<118, 0, 2, 195, 165>>, <<100, 0, 0>>,
     <<115, 200, (binary:copy(<<229>>, 200))/binary>>, <<98, 0, 0, 0, 7>>, <<98, 255:32>>, <<110, 1, 0, 7>>, <<110, 1, 1, 7>>,
     <<110, 4, 0, 255, 255, 255, 127>>, <<110, 4, 1, 0, 0, 0, 128>>, <<111, 2:32, 0, 7, 0>>, <<110, 9, 0, 1, 0:64>>, <<110, 0, 0>>,
     <<110, 1, 1, 0>>, <<111, 9:32, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9>>, <<110, 9, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0>>,
     <<111, 300:32, 0, 1, 2, 3, 0:(297 * 8)>>, Float, <<99, "-1.5e3", 0:200>>, <<99, "1.5", 0:224>>,
     <<108, 2:32, 97, 1, 97, 2, 106>>, <<108, 1:32, 97, 1, 108, 1:32, 97, 2, 106>>, <<108, 1:32, 97, 1, 107, 2:16, 2, 3>>,
     <<108, 1:32, 97, 1, 107, 0:16>>, <<108, 0:32, 106>>, <<108, 0:32, 97, 1>>, <<108, 0:32, 108, 1:32, 97, 1, 106>>,
     <<108, 1:32, 108, 0:32, 97, 1, 106>>, <<108, 1:32, 98, 1:32, 106>>, <<108, 1:32, 97, 1, 108, 1:32, 119, 1, "a", 97, 2>>,
     <<108, 1:32, 97, 1, 108, 1:32, 97, 2, 108, 0:32, 107, 1:16, 3>>, <<108, 2:32, 108, 1:32, 97, 1, 106, 107, 0:16, 106>>,
     <<105, 0:32>>, <<105, 1:32, 97, 1>>, <<105, 2:32, 105, 0:32, 98, 1:32>>, <<107, 0:16>>, <<77, 1:32, 8, 7>>, <<77, 0:32, 0>>,
     <<77, 1:32, 3, 255>>, <<77, 2:32, 1, 255, 255>>, <<103, 119, 3, "x@y", 1:32, 2:32, 3>>, <<103, 100, 3:16, "x@y", 1:32, 2:32, 3>>,
     <<88, 115, 3, "x@", 229, 1:32, 2:32, 3:32>>, <<102, 119, 3, "x@y", 9:32, 1>>, <<120, 119, 3, "x@y", 9:64, 1:32>>,
     <<101, 119, 3, "x@y", 5:32, 1>>, <<114, 2:16, 119, 3, "x@y", 1, 5:32, 6:32>>, <<90, 1:16, 100, 3:16, "x@y", 1:32, 5:32>>,
     <<113, 100, 1:16, "m", 115, 1, "f", 97, 2>>, <<113, 119, 1, "m", 119, 1, "f", 98, 2:32>>,
     <<116, 2:32, 97, 2, 97, 2, 97, 1, 97, 1>>, <<116, 2:32, 70, 1.0/float, 97, 2, 97, 1, 97, 1>>,
     <<116, 2:32, 119, 1, "b", 97, 1, 119, 1, "a", 116, 2:32, 119, 1, "d", 97, 1, 119, 1, "c", 97, 2>>,
     <<116, 2:32, 116, 2:32, 97, 2, 97, 2, 97, 1, 97, 1, 97, 2, 116, 2:32, 97, 2, 97, 2, 97, 1, 97, 0, 97, 1>>,
     <<116, 2:32, 98, 2:32, 97, 2, 98, 1:32, 97, 1>>, <<104, 2, 116, 2:32, 97, 2, 97, 2, 97, 1, 97, 1, 108, 1:32, 97, 1, 106>>,
     <<116, 1:32, 116, 1:32, 116, 2:32, 97, 9, 106, 97, 3, 106, 106, 106>>]
    ++ [begin
            <<112, Size:32, Start:17/binary, Numbers:8/binary, 119, Length, Name:Length/binary, Rest/binary>> = body(fun_of([1, 2])),
            <<112, (Size + 1):32, Start/binary, Numbers/binary, 100, Length:16, Name/binary, Rest/binary>>
        end].

bad() ->
    [<<3, 1, 2>>, <<255>>, <<>>, <<104>>, <<108, 200:32, 97, 1>>, <<104, 3, 97, 1>>, <<109, 10:32, "abc">>, <<119, 10, "abc">>,
     <<107, 10:16, "abc">>, <<110, 8, 0, 1, 2>>, <<111, 16#ffffffff:32, 0, 1>>, <<70, 1, 2>>, <<70, 16#7ff8000000000000:64>>,
     <<70, 16#7ff0000000000000:64>>, <<70, 16#fff0000000000000:64>>, <<118, 256:16, (binary:copy(<<"a">>, 256))/binary>>,
     <<100, 256:16, (binary:copy(<<"a">>, 256))/binary>>, <<119, 2, 195, 40>>, <<119, 1, 195>>, <<119, 3, 16#ed, 16#a0, 16#80>>,
     <<116, 2:32, 97, 1, 97, 2, 97, 3>>, <<116, 2:32, 97, 1, 97, 2, 97, 1, 97, 3>>, <<116, 2:32, 97, 1, 97, 2, 98, 1:32, 97, 3>>,
     <<116, 2:32, 70, 0.0/float, 97, 2, 70, -0.0/float, 97, 3>>, <<116, 3:32, 97, 1, 97, 2, 97, 5, 97, 2, 97, 1, 97, 3>>,
     <<116, 2:32, 116, 2:32, 97, 2, 97, 2, 97, 1, 97, 1, 97, 2, 116, 2:32, 97, 1, 97, 1, 97, 2, 97, 2, 97, 1>>,
     <<77, 1:32, 0, 5>>, <<77, 1:32, 9, 5>>, <<77, 0:32, 3>>, <<88, 97, 1, 1:32, 1:32, 1:32>>, <<88, 119, 1, "a", 1:32>>,
     <<90, 6:16, 119, 1, "a", 1:32, 0:192>>, <<113, 97, 1, 97, 2, 97, 3>>, <<113, 119, 1, "a", 119, 1, "b", 119, 1, "c">>,
     <<82, 0>>, <<131, 97, 1>>, <<99, "15", 0:232>>, <<99, "x.5", 0:224>>, <<105, 16#ffffffff:32>>, <<108, 16#ffffffff:32>>,
     <<116, 16#ffffffff:32>>].

ordered() ->
    [0, 1, 1.0, -1, 1.5, 2, 1 bsl 53, float(1 bsl 53), 1 bsl 53 + 1, 1 bsl 63, float(1 bsl 63), 1 bsl 64, -(1 bsl 63), -(1 bsl 64),
     -1.0e30, 1.0e300, 1 bsl 200, -(1 bsl 200), 0.0, -0.0, a, aa, b, 'é', '', ref('a@b', [1, 2, 3], 1), ref('a@b', [9, 2, 3], 1),
     ref('a@b', [1, 0], 1), ref('a@b', [1], 1), ref('b@b', [1], 1), fun_of(1), fun_of(1.0), fun_of([a]), fun lists:map/2, fun lists:map/3,
     port('a@b', 1, 1), port('a@b', 2, 1), port('b@b', 1, 1), pid('a@b', 1, 9, 1), pid('a@b', 9, 1, 1), pid('b@b', 1, 1, 1),
     {}, {a}, {1}, {1.0}, {z}, {a, a}, #{}, #{a => 1}, #{a => 1.0}, #{a => 2}, #{b => 1}, #{1 => a}, #{1.0 => a}, #{a => 9, b => 1},
     #{a => 1, c => 1}, #{a => #{x => 1}, b => 2}, #{a => #{x => 2}, b => 1}, #{a => {#{k => 1}, 1}, b => 1},
     #{a => {#{k => 1}, 2}, b => 0}, #{a => [], c => 0}, #{#{1 => 2} => 1}, #{#{1 => 2.0} => 1}, #{#{1.0 => 2} => 0}, [], [1], [1.0],
     [1, 2], [1 | 2], [1, 2 | 3], [a], "abc", "abd", "abcd", [97.0, 98, 99], [97, 98, c], [97 | a], [[]], <<>>, <<1>>, <<1:1>>, <<128>>,
     <<0:1>>, <<2:2>>, <<1, 1:1>>, <<1, 0:1>>, <<255>>, <<"abc">>].
