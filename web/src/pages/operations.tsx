/** Operations: what the whole fleet has to do, who does it, what failed; and the levers. */
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, type ReactNode } from "react";
import { Link } from "wouter";
import { keys as names } from "../api/calls";
import { api, query } from "../api/client";
import { span } from "../parts/format";
import { useAttempt } from "../parts/attempt";
import { toast } from "../parts/toast";
import { Bar, Empty, Failure, Note, Time, useRested, useTitle } from "../parts/ui";
import { realtime } from "../realtime/client";
import { Deeds } from "./audit";
import { More } from "./library";
import { Letters } from "./operations-letters";
import { Spending } from "./operations-spending";

interface Queue {
  queue: string;
  pool: string | null;
  workers: number;
  /** Nothing where the queue can't be looked at. */
  waiting: number | null;
  running: number | null;
  delayed: number | null;
  oldest_seconds: number | null;
  drain_seconds: number | null;
  paused: { by: string; at: string } | null;
}

interface Pool {
  pool: string;
  queues: string[];
  min: number;
  max: number;
  asked: { workers: number | null; by: string; at: string } | null;
  /** There are; there are to be. */
  workers: number;
  desired: number | null;
  decisions: { at: string; from: number; to: number; needed: number; words: string }[];
}

interface AtWork {
  instance: string;
  task: string;
  kind: string;
  asset: string;
  track: string | null;
  chunk: number | null;
  attempts: number;
  seconds: number | null;
  expected_seconds: number;
}

interface Process {
  instance: string;
  role: string;
  pool: string | null;
  host: string;
  version: string;
  state: "idle" | "busy" | "leaving" | "silent";
  started_at: string;
  seen_at: string;
}

interface Overview {
  at: string;
  queues: Queue[];
  pools: Pool[];
  processes: Process[];
  at_work: AtWork[];
}

interface Job {
  id: string;
  asset: string;
  name: string;
  tenant: string;
  state: string;
  percent: number;
  reason: string | null;
  created_at: string;
}

const TABS: [string, string][] = [
  ["", "Queues"],
  ["jobs", "Jobs"],
  ["letters", "Dead letters"],
  ["spending", "Spending"],
  ["audit", "Audit"],
];
const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];
/** Facts come in crowds; figures are asked for at most this often. */
const GATHER_MS = 1_000;
/** An operator's number that is younger is still being followed. */
const FOLLOWED_MS = 20_000;

/** What one more and one less start from: the workers that there are, or what was said of them a moment ago. */
function base(pool: Pool, now: string): number {
  const said = pool.asked?.workers ?? null;
  return pool.asked !== null && said !== null && Date.parse(now) - Date.parse(pool.asked.at) < FOLLOWED_MS ? said : pool.workers;
}

/** Asks anew when something happens anywhere in the fleet. */
function useFleet(): void {
  const client = useQueryClient();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = (): void => {
      timer ??= setTimeout(() => {
        timer = undefined;
        void client.invalidateQueries({ queryKey: names.operations });
      }, GATHER_MS);
    };
    const ends = [realtime.join("ops"), realtime.onEvent(look)];
    return () => {
      clearTimeout(timer);
      for (const end of ends) end();
    };
  }, [client]);
}

export function Operations({ tab }: { tab: string }) {
  useTitle("Operations");
  useFleet();
  return (
    <>
      <div className="head"><h1>Operations</h1></div>
      <nav className="row wrap" aria-label="Operations" style={{ marginBottom: "1rem" }}>
        {TABS.map(([name, label]) => (
          <Link key={name} className={name === tab ? "button small primary" : "button small"} aria-current={name === tab ? "page" : undefined} href={name === "" ? "/operations" : `/operations/${name}`}>
            {label}
          </Link>
        ))}
      </nav>
      {tab === "" && <Fleet />}
      {tab === "jobs" && <Jobs />}
      {tab === "letters" && <Letters />}
      {tab === "spending" && <Spending />}
      {tab === "audit" && <Deeds path="/v1/ops/audit" />}
    </>
  );
}

function Fleet() {
  const found = useQuery({
    queryKey: [...names.operations, "overview"],
    queryFn: ({ signal }) => api<Overview>("GET", "/v1/ops", { signal }),
    refetchInterval: 5_000,
  });
  const { error, attempt } = useAttempt(names.operations);
  const act = (word: string, method: string, path: string, body?: unknown): Promise<void> =>
    attempt(async () => {
      await api(method, `/v1/ops/${path}`, { body });
      toast(word);
    });
  if (found.error) return <Failure error={found.error} again={() => void found.refetch()} />;
  if (!found.data) return <p className="quiet">Looking…</p>;
  const { at, queues, pools, processes, at_work } = found.data;
  const idle = processes.filter((process) => !at_work.some((work) => work.instance === process.instance));
  return (
    <div className="stack">
      {error !== null && <Failure error={error} />}
      <Section title="Queues" table="Queues" heads={["Queue", "Waiting", "At work", "Later", "Oldest", "Empty in", "Controls"]}>
        {queues.map((queue) => (
          <tr key={queue.queue}>
            <td>{queue.queue}{queue.paused && <span className="pill warn" title={`by ${queue.paused.by}`}>Paused</span>}</td>
            {[queue.waiting, queue.running, queue.delayed].map((count, column) => <td key={column}>{count ?? "not known"}</td>)}
            <td>{queue.oldest_seconds === null ? "—" : span(queue.oldest_seconds)}</td>
            <td>{queue.drain_seconds === null ? ((queue.waiting ?? 0) > 0 && queue.workers === 0 ? "no worker" : "—") : span(queue.drain_seconds)}</td>
            <td>
              <button
                type="button"
                className="button small"
                aria-label={`${queue.paused ? "Resume" : "Pause"} ${queue.queue}`}
                onClick={() => void act(queue.paused ? `${queue.queue} goes on.` : `${queue.queue} is paused.`, "POST", `queues/${queue.queue}/${queue.paused ? "resume" : "pause"}`)}
              >
                {queue.paused ? "Resume" : "Pause"}
              </button>
            </td>
          </tr>
        ))}
      </Section>
      <Section title="Workers" table="Workers" heads={["Worker", "There are", "To be", "Asked for", "Why", "Controls"]}>
        {pools.map((pool) => {
          const now = base(pool, at);
          const scale = (workers: number | null): void =>
            void act(workers === null ? `${pool.pool} follows the work.` : `${pool.pool}: ${workers}.`, "PUT", `pools/${pool.pool}`, { workers });
          return (
            <tr key={pool.pool}>
              <td>{pool.pool}<div className="quiet small">{pool.queues.join(", ")}</div></td>
              <td>{pool.workers}</td>
              <td>{pool.desired ?? "—"}</td>
              <td>{pool.asked ? <span title={`by ${pool.asked.by}`}>{pool.asked.workers ?? "as needed"}</span> : "as started"}</td>
              <td className="small">{pool.decisions[0]?.words ?? ""}</td>
              <td>
                <span className="row">
                  <button type="button" className="button small" aria-label={`One ${pool.pool} less`} disabled={now <= 0} onClick={() => scale(now - 1)}>−</button>
                  <button type="button" className="button small" aria-label={`One ${pool.pool} more`} disabled={now >= pool.max} onClick={() => scale(now + 1)}>+</button>
                  <button type="button" className="button small" aria-label={`${pool.pool} as needed`} onClick={() => scale(null)}>As needed</button>
                </span>
              </td>
            </tr>
          );
        })}
      </Section>
      {processes.length + at_work.length === 0 ? (
        <Empty icon="clock" title="No process says that it is there" />
      ) : (
        <Section title="Processes" table="Processes" heads={["Process", "Task", "Asset", "For", "Expected", "Attempt"]}>
          {at_work.map((work) => (
            <tr key={work.task}>
              <td><Named instance={work.instance} process={processes.find((process) => process.instance === work.instance)} /></td>
              <td>{work.kind}{work.track !== null && ` ${work.track}`}{work.chunk !== null && ` ${work.chunk}`}</td>
              <td><Link className="mono small" href={`/operations/assets/${work.asset}`}>{work.asset}</Link></td>
              <td>{work.seconds === null ? "—" : span(work.seconds)}</td>
              <td>{span(work.expected_seconds)}</td>
              <td>{work.attempts}</td>
            </tr>
          ))}
          {idle.map((process) => (
            <tr key={process.instance}>
              <td><Named instance={process.instance} process={process} /></td>
              <td className="quiet">{process.state === "silent" ? <>silent since <Time iso={process.seen_at} /></> : process.state}</td>
              <td /><td /><td /><td />
            </tr>
          ))}
        </Section>
      )}
      <Section title="Decisions of the scaler" table="Decisions" heads={["When", "Worker", "From", "To", "Why"]}>
        {pools.flatMap((pool) => pool.decisions.map((one) => ({ pool: pool.pool, ...one })))
          .sort((a, b) => b.at.localeCompare(a.at))
          .slice(0, 20)
          .map((one) => (
            <tr key={`${one.pool} ${one.at}`}>
              <td><Time iso={one.at} /></td>
              <td>{one.pool}</td>
              <td>{one.from}</td>
              <td>{one.to}</td>
              <td className="small">{one.words}</td>
            </tr>
          ))}
      </Section>
    </div>
  );
}

/** A process, and of what build it is, on which machine. */
function Named({ instance, process }: { instance: string; process: Process | undefined }) {
  return (
    <>
      <span className="mono small">{instance}</span>
      {process && <div className="quiet small">{process.pool ?? process.role} {process.version} on {process.host}{process.state === "leaving" && ", leaving"}</div>}
    </>
  );
}

function Section({ title, table, heads, children }: { title: string; table: string; heads: string[]; children: ReactNode }) {
  return (
    <section>
      <h2>{title}</h2>
      <div className="card table-scroll" tabIndex={0} role="region" aria-label={table}>
        <table className="table">
          <thead><tr>{heads.map((head) => <th key={head}>{head}</th>)}</tr></thead>
          <tbody>{children}</tbody>
        </table>
      </div>
    </section>
  );
}

function Jobs() {
  const [text, setText] = useState("");
  const [state, setState] = useState("");
  const q = useRested(text, 300);
  const found = useInfiniteQuery({
    queryKey: [...names.operations, "jobs", q, state],
    queryFn: ({ pageParam, signal }) =>
      api<{ jobs: Job[]; next_cursor: string | null }>("GET", `/v1/ops/jobs${query({ q, state, cursor: pageParam })}`, { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  });
  const list = found.data?.pages.flatMap((page) => page.jobs) ?? [];
  return (
    <div className="stack">
      <div className="row wrap">
        <input className="input grow" type="search" aria-label="Look for a job" placeholder="Name or asset" value={text} onChange={({ target }) => setText(target.value)} />
        <select className="input" aria-label="State" value={state} onChange={({ target }) => setState(target.value)}>
          <option value="">Every state</option>
          {STATES.map((one) => <option key={one} value={one}>{one}</option>)}
        </select>
      </div>
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.data && list.length === 0 && <Note>No job fits.</Note>}
      {list.length > 0 && (
        <div className="card table-scroll" tabIndex={0} role="region" aria-label="Jobs">
          <table className="table">
            <thead><tr><th>Asset</th><th>Tenant</th><th>State</th><th>Done</th><th>Began</th></tr></thead>
            <tbody>
              {list.map((job) => (
                <tr key={job.id}>
                  <td><Link href={`/operations/assets/${job.asset}`}>{job.name}</Link><div className="mono quiet small">{job.asset}</div></td>
                  <td>{job.tenant}</td>
                  <td>{job.state}{job.reason !== null && <div className="quiet small">{job.reason}</div>}</td>
                  <td><Bar percent={job.state === "succeeded" ? 100 : job.percent} label={`${job.name}: done`} /></td>
                  <td><Time iso={job.created_at} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {found.hasNextPage && <More next={() => void found.fetchNextPage()} busy={found.isFetchingNextPage} />}
    </div>
  );
}
