%% The runner: takes cases from modules, gives them a node, prints a line for each, and counts.
%%
%% A case is {Group, Name, Options, Function}. A function of one argument gets the shared node, a map with `node`, `port`,
%% `creation` and `os_pid`; it is started when it is first wanted, and again when a case has ended it (which is a
%% failure of that case). A function of none starts what it needs. What a case starts is ended with it.
%%
%% Options: `timeout` in milliseconds (default 15,000); `parallel => true` for cases that mostly wait: those of a group
%% run a few at a time, after the others; `beyond => true` for what Erlang itself does not do, which is left out
%% when the reference node is tested.
-module(acc).
-export([main/0, cookie/0, epmd_port/0, dir/0, node_cmd/0]).
-export([equal/3, short/1, mailbox/0, until/2, until/3, later/1]).
-export([puppet/1, puppet/2, do/2, do/3, obey/2, call/2, stats/1, sorted/1, rss/1, sub/2, unique/1]).

-define(NODE, "n").
-define(TOGETHER, 5).

%% Settings, from the environment that `run` makes.

cookie() -> list_to_atom(os:getenv("ACC_COOKIE", "acc_cookie")).

epmd_port() -> list_to_integer(os:getenv("ERL_EPMD_PORT", "4369")).

dir() -> os:getenv("ACC_DIR", ".").

node_cmd() -> os:getenv("NODE_CMD").

main() ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    acc_node:start_keeper(),
    Modules = [list_to_atom(M) || M <- string:lexemes(os:getenv("ACC_MODULES", ""), " ")],
    Filter = os:getenv("ACC_FILTER", ""),
    All = lists:append([M:cases() || M <- Modules]),
    Cases = [Case || {Group, Name, _, _} = Case <- All,
                     re:run(title(Group, Name), Filter, [{capture, none}]) =:= match],
    case os:getenv("ACC_LIST") of
        "1" ->
            [io:format("~s~n", [title(Group, Name)]) || {Group, Name, _, _} <- Cases],
            io:format("~b cases~n", [length(Cases)]),
            halt(0);
        _ -> ok
    end,
    double_names(All),
    Start = now_ms(),
    %% A node that does not start fails all: once is enough.
    try acc_node:shared(?NODE)
    catch
        error:Why ->
            io:format("the node does not start: ~0p~n~s~n", [Why, string:trim(os:cmd("tail -5 " ++ dir() ++ "/nodes.log"))]),
            halt(1)
    end,
    Skip = fun({_, _, Options, _}) -> maps:get(beyond, Options, false) andalso os:getenv("ACC_REFERENCE") =:= "1" end,
    {Skipped, Wanted} = lists:partition(Skip, Cases),
    [io:format("SKIP ~s (Erlang does not promise this)~n", [title(Group, Name)]) || {Group, Name, _, _} <- Skipped],
    Results = lists:append([run_group(Group, [C || {G, _, _, _} = C <- Wanted, G =:= Group])
                            || Group <- unique([G || {G, _, _, _} <- Wanted])]),
    acc_node:stop_all(),
    Failed = [Title || {Title, failed} <- Results],
    [io:format("failed: ~s~n", [Title]) || Title <- Failed],
    io:format("~b passed, ~b failed in ~b s~n",
              [length(Results) - length(Failed), length(Failed), (now_ms() - Start) div 1000]),
    halt(case {Results, Failed} of
             {[], _} -> 2;
             {_, []} -> 0;
             _ -> 1
         end).

double_names(Cases) ->
    Titles = [title(Group, Name) || {Group, Name, _, _} <- Cases],
    case Titles -- lists:usort(Titles) of
        [] -> ok;
        Double -> io:format("cases of one name: ~p~n", [Double]), halt(2)
    end.

title(Group, Name) -> atom_to_list(Group) ++ "/" ++ atom_to_list(Name).

run_group(_Group, Cases) ->
    Is = fun({_, _, Options, _}) -> maps:get(parallel, Options, false) end,
    {Together, Alone} = lists:partition(Is, Cases),
    First = [run(Case) || Case <- Alone],
    First ++ together(Together, []).

%% So many at a time.
together(Cases, Results) -> together(Cases, 0, Results).

together([], 0, Results) -> Results;
together([Case | Cases], Running, Results) when Running < ?TOGETHER ->
    Self = self(),
    spawn_link(fun() -> Self ! {result, run(Case)} end),
    together(Cases, Running + 1, Results);
together(Cases, Running, Results) ->
    receive {result, Result} -> together(Cases, Running - 1, Results ++ [Result]) end.

run({Group, Name, Options, Function}) ->
    Title = title(Group, Name),
    Start = now_ms(),
    Logged = filelib:file_size(log()),
    Outcome = try given(Function) of
                  Argument -> attempt(Function, Argument, maps:get(timeout, Options, 15000))
              catch _:Reason -> {failed, {no_node, Reason}}
              end,
    Final = case {Outcome, Function} of
                {passed, _} when is_function(Function, 1) -> still_there(Start);
                _ -> Outcome
            end,
    Ms = now_ms() - Start,
    case Final of
        passed ->
            io:format("PASS ~s (~b ms)~n", [Title, Ms]),
            {Title, passed};
        {failed, Why} ->
            io:format("FAIL ~s (~b ms): ~s~n~s", [Title, Ms, text(Why), logged_since(Logged)]),
            {Title, failed}
    end.

%% The standard error of all nodes.
log() -> filename:join(dir(), "nodes.log").

%% The last lines that nodes have written since the log had this size.
logged_since(Size) ->
    case file:read_file(log()) of
        {ok, <<_:Size/binary, New/binary>>} ->
            Lines = string:lexemes(unicode:characters_to_list(binary_to_list(New)), "\n"),
            [["  nodes.log: ", string:slice(Line, 0, 300), $\n] || Line <- lists:nthtail(max(0, length(Lines) - 40), Lines)];
        _ -> ""
    end.

given(Function) when is_function(Function, 1) -> [acc_node:shared(?NODE)];
given(Function) when is_function(Function, 0) -> [].

still_there(_) ->
    case acc_node:shared_is_alive() of
        true -> passed;
        false -> {failed, the_node_has_ended}
    end.

attempt(Function, Arguments, Timeout) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
                                           put(acc_case, true),
                                           apply(Function, Arguments),
                                           exit(case_passed)
                                   end),
    Outcome = receive
                  {'DOWN', Monitor, process, Pid, case_passed} -> passed;
                  {'DOWN', Monitor, process, Pid, Reason} -> {failed, Reason}
              after Timeout ->
                      Where = process_info(Pid, current_stacktrace),
                      exit(Pid, kill),
                      receive {'DOWN', Monitor, process, Pid, _} -> ok end,
                      {failed, {timeout, Timeout, Where}}
              end,
    acc_node:case_ended(Pid),
    Outcome.

text(Why) ->
    Flat = lists:flatten(io_lib:format("~0P", [Why, 60])),
    case length(Flat) > 1500 of
        true -> lists:sublist(Flat, 1500) ++ "...";
        false -> Flat
    end.

now_ms() -> erlang:monotonic_time(millisecond).

%% For cases

equal(Expected, Expected, _) -> Expected;
equal(Expected, Got, Line) -> error({expected, short(Expected), got, short(Got), line, Line}).

%% Terms that are too large for a line.
short(Term) ->
    case erts_debug:flat_size(Term) of
        Size when Size < 200 -> Term;
        Size -> {large, Size, erlang:phash2(Term)}
    end.

mailbox() ->
    {messages, Messages} = process_info(self(), messages),
    short(lists:sublist(Messages, 5)).

%% Tries until it holds: 5 seconds, or as long as is said.
until(What, Condition) -> until(What, 5000, Condition).

until(What, Ms, Condition) ->
    case Condition() of
        true -> ok;
        Other when Ms =< 0 -> error({never_held, What, short(Other)});
        _ ->
            timer:sleep(20),
            until(What, Ms - 20, Condition)
    end.

%% Something done by another process, whose end is that of the case.
later(Function) -> spawn_link(Function).

%% A puppet that passes on what it gets to the caller.
puppet(#{node := Node}) -> puppet(Node, self());
puppet(Node) -> puppet(Node, self()).

puppet(#{node := Node}, Owner) -> puppet(Node, Owner);
puppet(Node, Owner) ->
    {ok, Pid} = gen_server:call({spawner, Node}, {puppet, Owner}),
    Pid.

do(Puppet, Command) -> do(Puppet, Command, 10000).

do(Puppet, Command, Timeout) -> gen_server:call(Puppet, Command, Timeout).

%% Without an answer.
obey(Puppet, Command) -> gen_server:cast(Puppet, Command).

call(#{node := Node}, Request) -> gen_server:call({echo, Node}, Request, 20000).

stats(#{node := Node}) -> erpc:call(Node, atropos, stats, [], 5000).

sorted(List) -> lists:sort(List).

%% Resident memory of a process of the system, in MB.
rss(#{os_pid := Pid}) -> rss(Pid);
rss(Pid) ->
    {ok, Text} = file:read_file("/proc/" ++ Pid ++ "/status"),
    {match, [Kb]} = re:run(Text, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kb) div 1024.

sub(Map, Keys) -> maps:with(Keys, Map).

unique([]) -> [];
unique([First | Rest]) -> [First | unique([Other || Other <- Rest, Other =/= First])].
