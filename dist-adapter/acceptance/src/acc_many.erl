%% Many relations, and many reconnects: that each relation is answered once and leaves nothing behind. Group `life`.
-module(acc_many).
-include("acc.hrl").
-export([cases/0]).

-define(MANY, 10000).
-define(ROUNDS, 100).
%% Processes of each side that are watched from the other in a round.
-define(WATCHED, 20).
%% Messages of a round that are on their way when the connection is lost.
-define(FLYING, 100).
%% What the resident memory of a node may have grown by in the end, in MB.
-define(SLACK, 32).

cases() ->
    [{life, Name, maps:merge(#{timeout => 180000}, Options), Function}
     || {Name, Options, Function} <-
            lists:append(
              [[{kill_node_ten_thousand_monitors, #{}, fun kill_node_ten_thousand_monitors/0},
                {kill_node_ten_thousand_links, #{}, fun kill_node_ten_thousand_links/0}],
               acc_other:cases(kill_peer_ten_thousand_monitors, [erlang, atropos], fun kill_peer_ten_thousand_monitors/1),
               acc_other:cases(kill_peer_ten_thousand_links, [erlang, atropos], fun kill_peer_ten_thousand_links/1),
               acc_other:cases(cut_line_ten_thousand_each_way, [erlang, atropos], fun cut_line_ten_thousand_each_way/1),
               reconnects()])].

reconnects() ->
    lists:append([reconnects(hundred_reconnects_node_dials, node),
                  reconnects(hundred_reconnects_peer_dials, peer),
                  reconnects(hundred_reconnects_both_dial, both)]).

reconnects(Name, Dials) ->
    [{Title, maps:merge(Options, beyond(Title)), Function}
     || {Title, Options, Function} <- acc_other:cases(Name, [erlang, atropos],
                                                      fun(Kind) -> hundred_reconnects(Kind, Dials) end)].

%% An Erlang node whose senders go on dialling in vain does not answer who dials it, be that Erlang too. A node of Atropos
%% answers `nok` now and then, and who dials it waits for its dial: each round may take the seven seconds of a handshake.
beyond(hundred_reconnects_node_dials_among_atropos) -> #{beyond => true, timeout => 900000};
beyond(_) -> #{}.

%% Ten thousand

kill_node_ten_thousand_monitors() ->
    Node = acc_node:start(#{name => "many"}),
    Pids = puppets(Node, none, ?MANY),
    %% Two of each: the other ten thousand are of processes that are watched already.
    Refs = [monitor(process, P) || P <- Pids ++ Pids],
    synced(Node, Pids),
    acc_node:kill(Node),
    each_once([{Ref, noconnection} || Ref <- Refs],
              fun({'DOWN', Ref, process, _, Reason}) -> {Ref, Reason} end).

%% One process that is linked to ten thousand, and ten thousand that are linked to one.
kill_node_ten_thousand_links() ->
    process_flag(trap_exit, true),
    #{node := N} = Node = acc_node:start(#{name => "manylinks"}),
    [P | Pids] = puppets(Node, none, ?MANY + 1),
    [true = link(Pid) || Pid <- Pids],
    Linked = [spawn_monitor(fun() -> link(P), receive never -> ok end end) || _ <- Pids],
    acc:until(linked, fun() -> maps:get(remote_links, acc:stats(Node)) =:= 2 * ?MANY end),
    synced(Node, Pids),
    acc_node:kill(Node),
    each_once([{Pid, noconnection} || Pid <- Pids] ++ [{Ref, noconnection} || {_, Ref} <- Linked],
              fun({'EXIT', Pid, Reason}) when node(Pid) =:= N -> {Pid, Reason};
                 ({'DOWN', Ref, process, _, Reason}) -> {Ref, Reason}
              end),
    {links, Links} = process_info(self(), links),
    ?eq([], [L || L <- Links, is_pid(L), node(L) =:= N]).

kill_peer_ten_thousand_monitors(Kind) ->
    {[Node], [Peer]} = acc_other:company(Kind, ["watcher"], ["victim"]),
    Victims = acc_other:idle(Peer, ?MANY),
    P = acc:puppet(Node),
    Refs = at_once(P, [{monitor, V} || V <- Victims ++ Victims]),
    ?match(Count when Count >= 2 * ?MANY, maps:get(remote_monitors, acc:stats(Node))),
    acc_other:kill(Peer),
    each_once([{Ref, noconnection} || Ref <- Refs], fun({puppet, Puppet, Message}) when Puppet =:= P -> ended(Message) end),
    acc:until(no_trace, fun() -> maps:get(remote_monitors, acc:stats(Node)) < 100 end).

%% One puppet that is linked to ten thousand, and ten thousand puppets that are linked to one.
kill_peer_ten_thousand_links(Kind) ->
    {[Node], [Peer]} = acc_other:company(Kind, ["linked"], ["linkvictim"]),
    [V | Victims] = acc_other:idle(Peer, ?MANY + 1),
    P = acc:puppet(Node),
    acc:do(P, {trap_exit, true}),
    Others = puppets(Node, none, ?MANY),
    Refs = [monitor(process, Other) || Other <- Others],
    [true = Answer || Answer <- at_once(P, [{link, Victim} || Victim <- Victims])],
    [true = acc:do(Other, {link, V}) || Other <- Others],
    ?eq(2 * ?MANY, maps:get(remote_links, acc:stats(Node))),
    acc_other:kill(Peer),
    each_once([{Victim, noconnection} || Victim <- Victims] ++ [{Ref, noconnection} || Ref <- Refs],
              fun({puppet, Puppet, Message}) when Puppet =:= P -> ended(Message);
                 ({'DOWN', Ref, process, _, Reason}) -> {Ref, Reason}
              end),
    ?eq(0, maps:get(remote_links, acc:stats(Node))).

%% Neither side dies, so that each can say what it was told: ten thousand monitors and as many links from each to the other.
cut_line_ten_thousand_each_way(Kind) ->
    {Node, Proxies, Other} = between(Kind, "eachway", "eachwaypeer", both),
    [P, Q] = [acc_other:puppet(Side, self()) || Side <- [Node, Other]],
    [acc:do(Puppet, {trap_exit, true}) || Puppet <- [P, Q]],
    connect(both, P, Q),
    Before = settled(Node),
    {Here, There} = {acc_other:idle(Node, ?MANY), acc_other:idle(Other, ?MANY)},
    Held = [begin
                Refs = at_once(Puppet, [{monitor, V} || V <- Victims]),
                [true = Answer || Answer <- at_once(Puppet, [{link, V} || V <- Victims])],
                [{{Puppet, Key}, noconnection} || Key <- Refs ++ Victims]
            end || {Puppet, Victims} <- [{P, There}, {Q, Here}]],
    acc:until(held, 20000, fun() ->
                                   #{remote_links := Links, remote_monitors := Monitors, remote_monitored_by := By} =
                                       acc_other:stats(Node),
                                   {Links, Monitors >= ?MANY, By >= ?MANY} =:= {2 * ?MANY, true, true}
                           end),
    [acc_proxy:cut_all(Proxy) || Proxy <- Proxies],
    Read = fun({puppet, Puppet, Message}) ->
                   {Key, Reason} = ended(Message),
                   {{Puppet, Key}, Reason}
           end,
    each_once(lists:append(Held), Read),
    %% Nor does another connection bring more.
    acc:until(connected, fun() -> acc:do(P, {connect, node(Q)}, 20000) end),
    ?eq({ok, Q}, acc:do(P, {call, Q, self, 5000})),
    ?eq({ok, P}, acc:do(Q, {call, P, self, 5000})),
    each_once([], Read),
    none_left(Node, relations(Before)).

puppets(#{node := N}, Owner, Count) ->
    {ok, Pids} = gen_server:call({spawner, N}, {puppets, Owner, Count}, 30000),
    Pids.

%% What went to the node before, on this connection, has arrived.
synced(Node, Pids) ->
    Last = lists:last(Pids),
    ?eq(Last, acc:do(Last, self)),
    ?eq(fine, acc:call(Node, fine)).

%% The answers to commands that do not wait for each other.
at_once(Puppet, Commands) ->
    Requests = [gen_server:send_request(Puppet, Command) || Command <- Commands],
    [begin
         {reply, Answer} = gen_server:receive_response(Request, 60000),
         Answer
     end || Request <- Requests].

ended({'DOWN', Ref, process, _, Reason}) -> {Ref, Reason};
ended({'EXIT', Pid, Reason}) -> {Pid, Reason}.

%% `Read` makes {Key, Reason} of a message. All that is expected comes, each once, and then nothing for a second.
each_once(Expected, Read) -> each_once(Expected, Read, length(Expected), #{}).

each_once(Expected, Read, Left, Seen) ->
    receive
        Message ->
            {Key, Reason} = Read(Message),
            each_once(Expected, Read, Left - 1, maps:update_with(Key, fun(Old) -> [Reason | Old] end, [Reason], Seen))
    after if Left > 0 -> 30000; true -> 1000 end ->
            Wanted = maps:from_list([{Key, [Reason]} || {Key, Reason} <- Expected]),
            Wrong = [{Key, {expected, maps:get(Key, Wanted, [])}, {got, maps:get(Key, Seen, [])}}
                     || Key <- maps:keys(maps:merge(Wanted, Seen)),
                        maps:get(Key, Wanted, []) =/= maps:get(Key, Seen, [])],
            ?eq({0, []}, {length(Wrong), lists:sublist(Wrong, 3)})
    end.

relations(Stats) -> maps:with([remote_links, remote_monitors, remote_monitored_by], Stats).

%% What a node says of itself when that has not changed for a while: groups watch each other when nodes have met.
settled(Side) -> settled(Side, acc_other:stats(Side), 50).

settled(_, Stats, 0) -> error({never_settled, Stats});
settled(Side, Stats, Left) ->
    timer:sleep(300),
    Now = acc_other:stats(Side),
    Key = fun(Of) -> {maps:get(processes, Of), relations(Of)} end,
    case Key(Now) =:= Key(Stats) of
        true -> Now;
        false -> settled(Side, Now, Left - 1)
    end.

%% The node holds no more relations than before. The question itself is one: Erlang's calls monitor.
none_left(Side, Before) ->
    acc:until({none_left, Before}, 15000,
              fun() ->
                      Now = relations(acc_other:stats(Side)),
                      case [Key || Key <- maps:keys(Before), maps:get(Key, Now) > maps:get(Key, Before)] of
                          [] -> true;
                          _ -> Now
                      end
              end).

%% A node and another, with a proxy each way. Who does not dial is told a port at which nobody listens.
between(Kind, Name, OtherName, Dials) ->
    Fixed = acc_node:fixed_port(),
    ToNode = acc_proxy:start(Fixed, fun(_) -> #{} end),
    Nobody = fun(Who, Port) -> case Dials =:= both orelse Dials =:= Who of true -> Port; false -> 1 end end,
    Short = acc_other:name(Kind, Name),
    %% See `beyond`.
    Options = case Dials of
                  node -> #{args => ["-kernel", "dist_auto_connect", "never"]};
                  _ -> #{}
              end,
    Other = acc_other:other(Kind, OtherName, [{Short, Nobody(peer, acc_proxy:port(ToNode))}], Options),
    {_, OtherPort} = lists:keyfind(acc_other:name(Kind, OtherName), 1, acc_node:epmd_names()),
    ToOther = acc_proxy:start(OtherPort, fun(_) -> #{} end),
    Table = atom_to_list(maps:get(node, Other)) ++ "=127.0.0.1:"
        ++ integer_to_list(Nobody(node, acc_proxy:port(ToOther))),
    %% See `beyond`: a dial that nobody takes over is given up.
    Patience = case {Kind, Dials} of
                   {atropos, node} -> ["--setuptime", "1"];
                   _ -> []
               end,
    Node = acc_node:start(#{name => Short, args => ["--port", integer_to_list(Fixed), "--peer", Table | Patience]}),
    {Node, [ToNode, ToOther], Other}.

%% A hundred reconnects

%% Senders and callers of both sides go on while the connection is cut, by each side's `disconnect` and by its socket in turn.
%% In each round P and Q, one of each side, watch processes of the other side, and messages to both are on their way when
%% the cut comes. All that P and Q get is kept, and judged in the end.
hundred_reconnects(Kind, Dials) ->
    Tag = atom_to_list(Dials),
    {Node, Proxies, Other} = between(Kind, "hundred" ++ Tag, "hundredpeer" ++ Tag, Dials),
    Sides = [Node, Other],
    [P, Q] = [acc_other:puppet(Side, self()) || Side <- Sides],
    [HereFlying, ThereFlying] = [acc_other:puppet(Side, none) || Side <- Sides],
    [Here, There] = [[acc_other:puppet(Side, none) || _ <- lists:seq(1, ?WATCHED)] || Side <- Sides],
    [acc:do(Puppet, {trap_exit, true}) || Puppet <- [P, Q | Here ++ There]],
    connect(Dials, P, Q),
    Before = [settled(Side) || Side <- Sides],
    Memory = acc:rss(Node),
    Load = [start_load(What, From, To) || What <- [sender, caller], _ <- "12", {From, To} <- [{Node, Other}, {Other, Node}]],
    Cut = fun(Round) ->
                  case Round rem 3 of
                      0 -> acc:do(P, {disconnect, node(Q)}, 20000);
                      1 -> acc:do(Q, {disconnect, node(P)}, 20000);
                      2 -> [acc_proxy:cut_all(Proxy) || Proxy <- Proxies]
                  end
          end,
    Rounds = [begin
                  connect(Dials, P, Q),
                  Watches = [{Puppet, Victims, at_once(Puppet, [{monitor, V} || V <- Victims])}
                             || {Puppet, Victims} <- [{P, There}, {Q, Here}]],
                  [[true = Answer || Answer <- at_once(Puppet, [{link, V} || V <- Victims])]
                   || {Puppet, Victims, _} <- Watches],
                  Numbers = {Round * ?FLYING, Round * ?FLYING + ?FLYING - 1},
                  {First, Last} = Numbers,
                  ok = acc:do(HereFlying, {burst, Q, First, Last, 500}, 20000),
                  ok = acc:do(ThereFlying, {burst, P, First, Last, 500}, 20000),
                  Cut(Round),
                  Logs = [{Puppet, told(Puppet, Refs, Victims, [])} || {Puppet, Victims, Refs} <- Watches],
                  {Round, Watches, Logs}
              end || Round <- lists:seq(1, ?ROUNDS)],
    Loads = [stop_load(One) || One <- Load],
    %% The load did something; a lost message is no fault, but there were not only lost ones.
    [?match({_, Done, Got} when Done > ?ROUNDS, {What, Done, Got}) || {What, Done, Got} <- Loads],
    ?match(Got when Got > 0, lists:sum([Got || {_, _, Got} <- Loads])),
    connect(Dials, P, Q),
    %% Nothing more comes; what is new, is for itself.
    ?never({puppet, _, _}, 1000),
    [begin
         true = acc:do(Puppet, {link, V}),
         Ref = acc:do(Puppet, {monitor, V}),
         ?eq({ok, V}, acc:do(Puppet, {call, V, self, 5000})),
         acc:obey(V, {die, at_last}),
         ?expect({puppet, Puppet, {'DOWN', Ref, process, V, at_last}}),
         ?expect({puppet, Puppet, {'EXIT', V, at_last}})
     end || {Puppet, [V | _]} <- [{P, There}, {Q, Here}]],
    [judge(Round, Dials, Watches, Logs) || {Round, Watches, Logs} <- Rounds],
    ?never({puppet, _, _}, 100),
    [none_left(Side, relations(Was)) || {Side, Was} <- lists:zip(Sides, Before)],
    %% Nor is there a process more for each round, or for each connection.
    [?match(Growth when Growth < ?ROUNDS div 4, maps:get(processes, acc_other:stats(Side)) - maps:get(processes, Was))
     || {Side, Was} <- lists:zip(Sides, Before)],
    acc:until({memory, Memory}, 10000, fun() -> case acc:rss(Node) of
                                                    Now when Now - Memory =< ?SLACK -> true;
                                                    Now -> Now
                                                end
                                       end).

%% Until both sides have it: one may still have the connection that the other has lost.
connect(Dials, P, Q) ->
    acc:until({connected, Dials},
              20000,
              fun() ->
                      {From, To} = case Dials of peer -> {Q, P}; _ -> {P, Q} end,
                      acc:do(From, {connect, node(To)}, 20000)
                          andalso acc:do(P, {call, Q, self, 5000}, 20000) =:= {ok, Q}
                          andalso acc:do(Q, {call, P, self, 5000}, 20000) =:= {ok, P}
              end).

%% All that a puppet gets until its monitors and links are answered, in order.
told(_, [], [], Log) -> lists:reverse(Log);
told(Puppet, Refs, Links, Log) ->
    Message = ?within(20000, {puppet, Puppet, Got}, Got),
    case Message of
        {'DOWN', Ref, process, _, _} -> told(Puppet, lists:delete(Ref, Refs), Links, [Message | Log]);
        {'EXIT', Pid, _} -> told(Puppet, Refs, lists:delete(Pid, Links), [Message | Log]);
        {burst, Number, _} -> told(Puppet, Refs, Links, [{burst, Number} | Log])
    end.

%% Each watch of the round had one answer, and no other answer came. Where one side alone dials there is no end of a
%% connection but the cut: so no message of an earlier round comes, and none of this one after the first answer.
judge(Round, Dials, Watches, Logs) ->
    [begin
         Log = proplists:get_value(Puppet, Logs),
         Reasons = [{Ref, Reason} || {'DOWN', Ref, process, _, Reason} <- Log],
         ?eq({Round, acc:sorted([{Ref, noconnection} || Ref <- Refs])}, {Round, acc:sorted(Reasons)}),
         Exits = [{Pid, Reason} || {'EXIT', Pid, Reason} <- Log],
         ?eq({Round, acc:sorted([{V, noconnection} || V <- Victims])}, {Round, acc:sorted(Exits)}),
         Numbers = [Number || {burst, Number} <- Log],
         ?eq({Round, Numbers}, {Round, lists:usort(Numbers)}),
         case Dials of
             both -> ok;
             _ ->
                 ?eq({Round, []}, {Round, [Number || Number <- Numbers, Number div ?FLYING =/= Round]}),
                 After = lists:dropwhile(fun(Entry) -> element(1, Entry) =:= burst end, Log),
                 ?eq({Round, []}, {Round, [Number || {burst, Number} <- After]})
         end
     end || {Puppet, Victims, Refs} <- Watches].

%% One sender or caller: {What, how many it sent or asked, how many came or were answered}.
start_load(What, From, To) ->
    Self = self(),
    Pid = spawn_link(fun() ->
                             A = acc_other:puppet(From, self()),
                             B = acc_other:puppet(To, self()),
                             Self ! {self(), started},
                             Result = load(What, A, B, 0, 0),
                             Self ! {self(), Result},
                             [acc:obey(Puppet, {die, normal}) || Puppet <- [A, B]],
                             unlink(Self)
                     end),
    ?within(10000, {Pid, started}, ok),
    Pid.

stop_load(Pid) ->
    Pid ! stop,
    ?within(60000, {Pid, {What, Done, Got}}, {What, Done, Got}).

%% The numbers that come grow: none comes twice, and none that was sent before another.
load(sender, A, B, Sent, Last) -> sender(A, B, Sent, Last, 0);
load(caller, A, B, _, _) -> caller(A, B, 0, 0).

sender(A, B, Sent, Last, Got) ->
    ok = acc:do(A, {burst, B, Sent + 1, Sent + 50, 300}, 30000),
    %% The next fifty go when these have come, or are taken to be lost: otherwise what waits for the slowest grows without end.
    {Newest, Came} = arrived(B, Last, Sent + 50, 0, 50),
    receive stop ->
            {_, Late} = arrived(B, Newest, infinity, 0, 500),
            {sender, Sent + 50, Got + Came + Late}
    after 0 -> sender(A, B, Sent + 50, Newest, Got + Came)
    end.

%% The numbers that come, until `Final`, or until none has come for `Wait` milliseconds.
arrived(_, Final, Final, Came, _) -> {Final, Came};
arrived(B, Last, Final, Came, Wait) ->
    receive
        {puppet, B, {burst, Number, _}} when Number > Last -> arrived(B, Number, Final, Came + 1, Wait);
        {puppet, _, Ghost} -> error({ghost, acc:short(Ghost), last, Last})
    after Wait -> {Last, Came}
    end.

%% Each call has its own answer, or an end that says that the node was lost; nothing comes afterwards.
caller(A, B, Asked, Answered) ->
    Question = {question, Asked},
    Now = case acc:do(A, {call, B, Question, 15000}, 30000) of
              {ok, {error, {unknown_request, Question}}} -> Answered + 1;
              {exit, noconnection} -> Answered;
              {exit, {nodedown, _}} -> Answered;
              Other -> error({no_answer, Question, Other})
          end,
    receive
        stop -> {caller, Asked + 1, Now};
        {puppet, _, Ghost} -> error({ghost, acc:short(Ghost), Question})
    after 0 -> caller(A, B, Asked + 1, Now)
    end.
