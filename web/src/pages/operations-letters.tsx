/** Dead letters by their cause: a sample to look at, one sent back as a canary, the rest when that has ended well. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { Link } from "wouter";
import { keys as names } from "../api/calls";
import { api, query } from "../api/client";
import { redriveByCanary, type Fate, type Redriven } from "../parts/canary";
import { toast } from "../parts/toast";
import { Empty, Failure, Field, Modal, Note, Time } from "../parts/ui";

interface Sample {
  id: string;
  subject: string;
  asset: string | null;
  at: string;
  reason: string;
  error: string | null;
  exit: string | null;
  attempts: number | null;
}

interface Cluster {
  queue: string;
  reason: string;
  kind: string;
  letters: number;
  first_at: string | null;
  last_at: string | null;
  samples: Sample[];
}

interface Found {
  clusters: Cluster[];
  letters: number;
  held_elsewhere: number;
}

/** A canary that is at work, or that failed. */
interface Trial {
  task: string;
  left: number;
  why: string | null;
}

/** Between two looks at a canary. */
const LOOK_MS = 1_000;

export function Letters() {
  const client = useQueryClient();
  // Asked for by hand: a look holds the letters for a moment.
  const found = useQuery({
    queryKey: names.letters,
    queryFn: ({ signal }) => api<Found>("GET", "/v1/ops/letters", { signal }),
    refetchOnWindowFocus: false,
  });
  const [error, setError] = useState<unknown>(null);
  const [discarding, setDiscarding] = useState<Cluster | null>(null);
  const [busy, setBusy] = useState(false);
  const [trial, setTrial] = useState<Trial | null>(null);
  // Who goes away sends nothing more.
  const here = useRef(true);
  useEffect(() => {
    here.current = true;
    return () => void (here.current = false);
  }, []);
  const post = <T,>(verb: "redrive" | "discard", { queue, reason, kind }: Cluster, more: { limit?: number; why?: string }): Promise<T> =>
    api<T>("POST", `/v1/ops/letters/${verb}`, { body: { queue, reason, kind, ...more } });
  const act = async (what: () => Promise<void>): Promise<void> => {
    setError(null);
    setTrial(null);
    setBusy(true);
    try {
      await what();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
    await client.invalidateQueries({ queryKey: names.letters });
  };
  const all = (cluster: Cluster): Promise<void> =>
    act(async () => {
      const done = await post<Redriven>("redrive", cluster, {});
      toast(`${done.redriven} sent back, ${done.left} left.`);
    });
  const byCanary = (cluster: Cluster): Promise<void> =>
    act(async () => {
      const outcome = await redriveByCanary({
        redrive: (limit) => post<Redriven>("redrive", cluster, limit === undefined ? {} : { limit }),
        look: ({ task, token }) => api<Fate>("GET", `/v1/ops/letters/fate${query({ task, token })}`),
        pause: async () => {
          await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
          return here.current;
        },
        begun: ({ task }, left) => {
          setTrial({ task, left, why: null });
          void client.invalidateQueries({ queryKey: names.letters });
        },
      });
      if (outcome.end === "badly") return setTrial(outcome);
      setTrial(null);
      if (outcome.end === "sent") toast(`${outcome.redriven} sent back; the first has ended well.`);
    });
  const discard = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const why = String(new FormData(event.currentTarget).get("why"));
    const cluster = discarding;
    if (cluster) {
      void act(async () => {
        const done = await post<{ discarded: number }>("discard", cluster, { why });
        toast(`${done.discarded} thrown away.`);
      });
    }
    setDiscarding(null);
  };
  return (
    <div className="stack">
      <div className="row"><button type="button" className="button small" disabled={found.isFetching} onClick={() => void found.refetch()}>Look again</button></div>
      {error !== null && <Failure error={error} />}
      {trial !== null && trial.why === null && (
        <Note icon="clock">One was sent back: <span className="mono small">{trial.task}</span>. {rest(trial.left)} when it has ended well; stay on this page until then.</Note>
      )}
      {trial !== null && trial.why !== null && (
        <Note tone="bad" icon="warn"><span className="mono small">{trial.task}</span> {trial.why}. {trial.left > 0 && `The rest (${trial.left}) stays where it is.`}</Note>
      )}
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.data && found.data.held_elsewhere > 0 && <Note tone="warn" icon="warn">{found.data.held_elsewhere} more are held by somebody else just now.</Note>}
      {found.data?.letters === 0 && <Empty icon="done" title="No dead letters"><p>What the fleet gives up on lies here, with its reason, until you send it back.</p></Empty>}
      {found.data?.clusters.map((cluster) => {
        const title = `${cluster.reason}${cluster.kind === "" ? "" : ` at ${cluster.kind}`}`;
        return (
          <section className="card padded stack" key={`${cluster.queue} ${title}`} aria-label={title}>
            <h2 style={{ margin: 0 }}>{title}</h2>
            <p className="quiet">
              {cluster.letters} in {cluster.queue}
              {cluster.last_at !== null && <>, the latest <Time iso={cluster.last_at} /></>}
            </p>
            {cluster.samples.map((sample) => (
              <div key={sample.id} className="small">
                {sample.asset !== null ? <Link className="mono" href={`/operations/assets/${sample.asset}`}>{sample.asset}</Link> : <span className="mono">{sample.subject}</span>}
                {sample.exit !== null && ` · ${sample.exit}`}
                {sample.attempts !== null && ` · ${sample.attempts} attempts`}
                <div className="quiet">{sample.error ?? sample.reason}</div>
              </div>
            ))}
            <div className="row wrap">
              {cluster.kind === "" ? (
                // What is no task has no end that could be waited for.
                <button type="button" className="button small" disabled={busy} onClick={() => void all(cluster)}>Send all back</button>
              ) : (
                <button type="button" className="button small" disabled={busy} onClick={() => void byCanary(cluster)}>
                  {cluster.letters > 1 ? "Send one back, then the rest" : "Send it back"}
                </button>
              )}
              <button type="button" className="button small danger" disabled={busy} onClick={() => setDiscarding(cluster)}>Throw away</button>
            </div>
          </section>
        );
      })}
      {discarding && (
        <Modal title={`Throw ${discarding.letters} letters away?`} close={() => setDiscarding(null)}>
          <form className="stack" onSubmit={discard}>
            <p>Their tasks stay failed. The audit keeps what they said.</p>
            <Field label="Why" hint="For the audit."><input className="input" name="why" required maxLength={500} /></Field>
            <div className="row">
              <button type="submit" className="button danger">Throw away</button>
              <button type="button" className="button plain" onClick={() => setDiscarding(null)}>Keep them</button>
            </div>
          </form>
        </Modal>
      )}
    </div>
  );
}

function rest(left: number): string {
  return left > 0 ? `The rest (${left}) follows` : "You are told";
}
