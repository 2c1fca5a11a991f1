%% The other side of a case, of either kind: a real Erlang node, which is asked over its standard input (`acc_node:peer`), or
%% a node of the command under test, which is asked by a puppet. So that one case is played with both.
%%
%% Kinds: `erlang`; `atropos`; `without_epmd`, which is `atropos` with `--no-epmd` and a table of `--peer` for everybody.
-module(acc_other).
-export([cases/3, name/2, company/3, company/4, other/4]).
-compile({no_auto_import, [nodes/1]}).
-export([meet/2, nodes/1, idle/1, idle/2, puppet/2, exit/3, kill/1, stats/1]).
-export([join/3, leave/3, members/2, members/3, local_members/2, which_groups/1]).
-export([global_register/3, global_unregister/3, global_whereis/2, global_send/3, global_sync/1]).

%% A case for each kind, as {Name, Options, Function of none}.
cases(Name, Kinds, Function) ->
    [{list_to_atom(atom_to_list(Name) ++ suffix(Kind)), #{}, fun() -> Function(Kind) end} || Kind <- Kinds].

suffix(erlang) -> "";
suffix(atropos) -> "_among_atropos";
suffix(without_epmd) -> "_without_epmd".

%% The name (without host) of a node in this case: cases of other kinds run beside it.
name(erlang, Name) -> Name;
name(atropos, Name) -> Name ++ "_a";
name(without_epmd, Name) -> Name ++ "_t".

%% Nodes under test and others, none of which has met another: {Nodes, Others}. Options: `scopes` of `pg` besides `pg`;
%% `plain => true` for Erlang nodes with all of kernel's defaults, without `pg`.
company(Kind, Nodes, Others) -> company(Kind, Nodes, Others, #{}).

company(Kind, Nodes, Others, Options) ->
    Table = case Kind of
                without_epmd -> [{name(Kind, Name), acc_node:fixed_port()} || Name <- Nodes ++ Others];
                _ -> []
            end,
    {[start(Kind, Name, Table, Options) || Name <- Nodes], [other(Kind, Name, Table, Options) || Name <- Others]}.

%% The table says where who is: {Name (without host), Port}.
other(erlang, Name, Table, Options) ->
    Peer = acc_node:peer((maps:with([plain, args], Options))#{name => Name}),
    [acc_node:peer_route(Peer, To, Port) || {To, Port} <- Table],
    case Options of
        #{plain := true} -> ok;
        _ ->
            acc_node:peer_run(Peer, fun() -> acc_there:pg_start() end),
            [{ok, _} = acc_node:peer_call(Peer, pg, start, [Scope]) || Scope <- maps:get(scopes, Options, [])]
    end,
    Peer;
other(Kind, Name, Table, #{plain := true} = Options) ->
    %% The driver is visible and leaves out `global`, for which `global:sync` of a node that it is connected to would wait.
    #{node := N, port := Port} = Node = start(Kind, Name, Table, Options),
    Remote = acc_node:peer(#{name => name(Kind, Name) ++ "_remote", args => ["-hidden"]}),
    acc_node:peer_route(Remote, name(Kind, Name), Port),
    {ok, [Hand]} = acc_node:peer_call(Remote, gen_server, call, [{spawner, N}, {puppets, none, 1}]),
    Node#{hand => Hand, remote => Remote};
other(Kind, Name, Table, Options) ->
    Node = start(Kind, Name, Table, Options),
    Node#{hand => acc:puppet(Node, none)}.

start(Kind, Short, Table, Options) ->
    Name = name(Kind, Short),
    Scopes = lists:append([["--pg-scope", atom_to_list(Scope)] || Scope <- maps:get(scopes, Options, [])]),
    Peers = lists:append([["--peer", atom_to_list(acc_node:full(To)) ++ "=127.0.0.1:" ++ integer_to_list(Port)]
                          || {To, Port} <- Table, To =/= Name]),
    case Kind of
        without_epmd ->
            Own = case lists:keyfind(Name, 1, Table) of
                      {_, Fixed} -> ["--port", integer_to_list(Fixed)];
                      false -> []
                  end,
            %% Nobody listens at this port of epmd: a node that asks does not find.
            Node = acc_node:start(#{name => Name, command => "env ERL_EPMD_PORT=1 " ++ acc:node_cmd(),
                                    args => ["--no-epmd" | Own] ++ Peers ++ Scopes}),
            false = lists:keymember(Name, 1, acc_node:epmd_names()),
            acc_epmd:route(Name, maps:get(port, Node)),
            Node;
        _ -> acc_node:start(#{name => Name, args => Peers ++ Scopes})
    end.

%% `control`: an Erlang node. `hand`: a node under test in its place, `remote`: by way of this one.

ask(#{hand := Hand} = Other, Command) -> ask(Other, Hand, Command).

ask(#{remote := Remote}, Puppet, Command) ->
    acc_node:peer_call(Remote, gen_server, call, [Puppet, Command, 20000], 25000);
ask(_, Puppet, Command) -> acc:do(Puppet, Command, 20000).

meet(#{control := _} = Peer, #{node := N}) -> pong = acc_node:peer_call(Peer, net_adm, ping, [N]);
meet(Other, #{node := N}) -> true = ask(Other, {connect, N}).

nodes(#{control := _} = Peer) -> acc_node:peer_call(Peer, erlang, nodes, []);
nodes(Other) -> ask(Other, nodes).

%% A process that waits.
idle(Other) -> hd(idle(Other, 1)).

%% Atropos: puppets of nobody.
idle(#{control := _} = Peer, Count) -> acc_node:peer_call(Peer, acc_there, victims, [Count]);
idle(Node, Count) -> puppets(Node, none, Count).

%% A puppet: Erlang nodes have those of the reference node.
puppet(Other, Owner) -> hd(puppets(Other, Owner, 1)).

puppets(#{control := _} = Peer, Owner, Count) ->
    [acc_node:peer_call(Peer, erlang, spawn, [atropos, puppet, [Owner]]) || _ <- lists:seq(1, Count)];
puppets(#{node := N, remote := Remote}, Owner, Count) ->
    {ok, Pids} = acc_node:peer_call(Remote, gen_server, call, [{spawner, N}, {puppets, Owner, Count}]),
    Pids;
puppets(#{node := N}, Owner, Count) ->
    {ok, Pids} = gen_server:call({spawner, N}, {puppets, Owner, Count}, 20000),
    Pids.

%% As if from there.
exit(#{control := _} = Peer, Pid, Reason) -> true = acc_node:peer_call(Peer, erlang, exit, [Pid, Reason]);
exit(Other, Pid, Reason) -> true = ask(Other, {exit, Pid, Reason}).

kill(#{control := _} = Peer) -> acc_node:peer_kill(Peer);
kill(Node) -> acc_node:kill(Node).

stats(#{control := _} = Peer) -> acc_node:peer_call(Peer, atropos, stats, []);
stats(Node) -> acc:stats(Node).

%% `pg`: processes of that node. A puppet joins by itself, so as often as it is in the list.

join(#{control := _} = Peer, Group, Pids) -> acc_node:peer_call(Peer, pg, join, [Group, Pids]);
join(Other, Group, Pids) -> all([ask(Other, Pid, {pg_join, pg, Group}) || Pid <- lists:flatten([Pids])]).

leave(#{control := _} = Peer, Group, Pids) -> acc_node:peer_call(Peer, pg, leave, [Group, Pids]);
leave(Other, Group, Pids) -> all([ask(Other, Pid, {pg_leave, pg, Group}) || Pid <- lists:flatten([Pids])]).

all(Answers) ->
    [Answer] = lists:usort(Answers),
    Answer.

%% As a node sees it, or a puppet.
members(Seer, Group) -> members(Seer, pg, Group).

members(#{control := _} = Peer, Scope, Group) -> acc_node:peer_call(Peer, pg, get_members, [Scope, Group]);
members(#{hand := Hand}, Scope, Group) -> members(Hand, Scope, Group);
members(Puppet, Scope, Group) -> acc:do(Puppet, {pg_members, Scope, Group}).

local_members(#{control := _} = Peer, Group) -> acc_node:peer_call(Peer, pg, get_local_members, [Group]);
local_members(Other, Group) -> ask(Other, {pg_local_members, pg, Group}).

which_groups(#{control := _} = Peer) -> acc_node:peer_call(Peer, pg, which_groups, []);
which_groups(Other) -> ask(Other, {pg_which_groups, pg}).

%% `global`

global_register(#{control := _} = Peer, Name, Pid) -> acc_node:peer_call(Peer, global, register_name, [Name, Pid]);
global_register(Other, Name, Pid) -> ask(Other, Pid, {global_register, Name}).

global_unregister(#{control := _} = Peer, Name, _) -> acc_node:peer_call(Peer, global, unregister_name, [Name]), ok;
global_unregister(Other, Name, Pid) -> ask(Other, Pid, {global_unregister, Name}).

global_whereis(#{control := _} = Peer, Name) -> acc_node:peer_call(Peer, global, whereis_name, [Name]);
global_whereis(Other, Name) -> ask(Other, {global_whereis, Name}).

%% The pid that it was sent to.
global_send(#{control := _} = Peer, Name, Message) -> acc_node:peer_call(Peer, global, send, [Name, Message]);
global_send(Other, Name, Message) ->
    Pid = global_whereis(Other, Name),
    ok = ask(Other, {send, Pid, Message}),
    Pid.

global_sync(#{control := _} = Peer) -> acc_node:peer_call(Peer, global, sync, [], 15000);
global_sync(Other) -> ask(Other, global_sync).
