/** Dead letters by their cause: a sample to look at, one sent back as a canary, then the rest. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { Link } from "wouter";
import { keys as names } from "../api/calls";
import { api } from "../api/client";
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
  const act = async (verb: "redrive" | "discard", cluster: Cluster, more: { limit?: number; why?: string }): Promise<void> => {
    setError(null);
    setBusy(true);
    try {
      const { queue, reason, kind } = cluster;
      const done = await api<{ redriven?: number; discarded?: number; left: number }>("POST", `/v1/ops/letters/${verb}`, { body: { queue, reason, kind, ...more } });
      toast(verb === "redrive" ? `${done.redriven} sent back, ${done.left} left.` : `${done.discarded} thrown away.`);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
    await client.invalidateQueries({ queryKey: names.letters });
  };
  const discard = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const why = String(new FormData(event.currentTarget).get("why"));
    if (discarding) void act("discard", discarding, { why });
    setDiscarding(null);
  };
  return (
    <div className="stack">
      <div className="row"><button type="button" className="button small" disabled={found.isFetching} onClick={() => void found.refetch()}>Look again</button></div>
      {error !== null && <Failure error={error} />}
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
              <button type="button" className="button small" disabled={busy} onClick={() => void act("redrive", cluster, { limit: 1 })}>Send one back</button>
              <button type="button" className="button small" disabled={busy} onClick={() => void act("redrive", cluster, {})}>Send all back</button>
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
