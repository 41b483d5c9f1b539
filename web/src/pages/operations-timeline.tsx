/** How an asset came about: every task as a bar from its making over its beginning to its end. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { keys as names } from "../api/calls";
import { api } from "../api/client";
import { span } from "../parts/format";
import { Failure, useTitle } from "../parts/ui";

interface Task {
  id: string;
  kind: string;
  track: string | null;
  chunk: number | null;
  state: string;
  attempts: number;
  crashes: number;
  instance: string | null;
  error: string | null;
  expected_seconds: number;
  created_at: string;
  started_at: string | null;
  updated_at: string;
}

interface Told {
  asset: string;
  name: string;
  tenant: string;
  owner: string;
  state: string;
  landed_at: string;
  playable_at: string | null;
  ready_at: string | null;
  tasks: Task[];
}

const ended = (state: string): boolean => ["done", "failed", "cancelled"].includes(state);

export function Timeline({ id }: { id: string }) {
  useTitle("Timeline");
  const found = useQuery({
    queryKey: [...names.operations, "timeline", id],
    queryFn: ({ signal }) => api<Told>("GET", `/v1/ops/assets/${id}/timeline`, { signal }),
    refetchInterval: ({ state }) => (state.data?.tasks.every((task) => ended(task.state)) ? false : 2_000),
  });
  if (found.error) return <Failure error={found.error} again={() => void found.refetch()} />;
  if (!found.data) return <p className="quiet">Looking…</p>;
  const told = found.data;
  const from = Date.parse(told.landed_at);
  const last = Math.max(from + 1_000, ...told.tasks.map((task) => (ended(task.state) ? Date.parse(task.updated_at) : Date.now())));
  const place = (iso: string): number => (100 * Math.max(0, Date.parse(iso) - from)) / (last - from);
  const after = (iso: string | null): string => (iso === null ? "—" : span((Date.parse(iso) - from) / 1_000));
  return (
    <>
      <div className="head"><h1 className="clip">{told.name}</h1><Link className="button" href="/operations/jobs">All jobs</Link></div>
      <div className="stack">
        <p className="quiet">
          <span className="mono">{told.asset}</span> · {told.tenant} · {told.state} · playable after {after(told.playable_at)} · ready after {after(told.ready_at)}
        </p>
        <div className="card table-scroll" tabIndex={0} role="region" aria-label="Tasks">
          <table className="table">
            <thead><tr><th>Task</th><th>State</th><th>Began after</th><th>Took</th><th style={{ width: "45%" }}>From landing to the end: {span((last - from) / 1_000)}</th></tr></thead>
            <tbody>
              {told.tasks.map((task) => {
                const begun = task.started_at ?? task.created_at;
                const end = ended(task.state) ? task.updated_at : new Date(last).toISOString();
                const [made, start, stop] = [place(task.created_at), place(begun), place(end)];
                return (
                  <tr key={task.id}>
                    <td>
                      {task.kind}{task.track !== null && ` ${task.track}`}{task.chunk !== null && ` ${task.chunk}`}
                      {task.instance !== null && <div className="mono quiet small">{task.instance}</div>}
                      {task.error !== null && <div className="small">{task.error}</div>}
                    </td>
                    <td>{task.state}{task.attempts > 1 && <div className="quiet small">{task.attempts} attempts, {task.crashes} crashes</div>}</td>
                    <td>{after(begun)}</td>
                    <td>{span((Date.parse(end) - Date.parse(begun)) / 1_000)}</td>
                    <td>
                      <div className="gantt" aria-hidden="true">
                        <i className="waits" style={{ left: `${made}%`, width: `${Math.max(0, start - made)}%` }} />
                        <i className={task.state} style={{ left: `${start}%`, width: `${Math.max(0.5, stop - start)}%` }} />
                      </div>
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      </div>
    </>
  );
}
