/** Webhooks: where other software hears of events, and what came of each delivery. */
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { keys as names } from "../api/calls";
import { api, query } from "../api/client";
import type { User } from "../api/types";
import { useAttempt } from "../parts/attempt";
import { Icon } from "../parts/icon";
import { toast } from "../parts/toast";
import { Copy, Empty, Failure, Field, Modal, Note, Time, useTitle } from "../parts/ui";

interface Webhook {
  id: string;
  name: string;
  url: string;
  events: string[];
  tenant: boolean;
  enabled: boolean;
  reason: string | null;
  created_at: string;
}

interface WithSecret extends Webhook {
  secret: string;
}

interface Delivery {
  id: string;
  type: string;
  state: "pending" | "delivered" | "failed";
  attempts: number;
  next_at: string | null;
  status: number | null;
  error: string | null;
  took_ms: number | null;
  body: unknown;
  created_at: string;
}

interface Page {
  deliveries: Delivery[];
  next_cursor: string | null;
}

const WORDS: Record<Delivery["state"], string> = { pending: "On its way", delivered: "Delivered", failed: "Given up" };

export function Webhooks({ user }: { user: User }) {
  useTitle("Webhooks");
  const client = useQueryClient();
  const found = useQuery({
    queryKey: names.webhooks,
    queryFn: ({ signal }) => api<{ webhooks: Webhook[]; types: string[] }>("GET", "/v1/webhooks", { signal }),
  });
  const [editing, setEditing] = useState<Webhook | "new" | null>(null);
  const [fresh, setFresh] = useState<WithSecret | null>(null);
  const [removing, setRemoving] = useState<Webhook | null>(null);
  const [open, setOpen] = useState<string | null>(null);
  const { error, attempt } = useAttempt(names.webhooks);
  const list = found.data?.webhooks ?? [];
  return (
    <>
      <div className="head">
        <h1>Webhooks</h1>
        <button type="button" className="button primary" onClick={() => setEditing("new")}><Icon name="link" />New webhook</button>
      </div>
      <div className="stack">
        {error !== null && <Failure error={error} />}
        {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
        {found.data && list.length === 0 && (
          <Empty icon="link" title="No webhooks yet">
            <p>A webhook tells your own software when an upload is playable, ready, failed or deleted. Each event is signed, and sent until it is taken.</p>
          </Empty>
        )}
        {list.map((webhook) => (
          <section className="card stack" key={webhook.id} aria-label={webhook.name} style={{ padding: "1rem" }}>
            <div className="row">
              <h2 className="grow" style={{ margin: 0 }}>{webhook.name}</h2>
              <span className={webhook.enabled ? "pill good" : "pill warn"}>{webhook.enabled ? "On" : "Off"}</span>
            </div>
            <div className="mono small clip" title={webhook.url}>{webhook.url}</div>
            <div className="small quiet">
              {webhook.tenant ? "Everybody’s assets · " : ""}
              {webhook.events.length === 0 ? "Every event" : webhook.events.join(", ")} · since <Time iso={webhook.created_at} />
            </div>
            {webhook.reason !== null && <Note tone="warn" icon="warn">Turned off: {webhook.reason}.</Note>}
            <div className="row wrap">
              <button type="button" className="button small" aria-expanded={open === webhook.id} onClick={() => setOpen(open === webhook.id ? null : webhook.id)}>Deliveries</button>
              <button
                type="button"
                className="button small"
                disabled={!webhook.enabled}
                onClick={() => void attempt(async () => {
                  await api("POST", `/v1/webhooks/${webhook.id}/ping`);
                  setOpen(webhook.id);
                  await client.invalidateQueries({ queryKey: names.deliveries(webhook.id) });
                  toast("A test event is on its way.");
                })}
              >
                Send a test
              </button>
              <button type="button" className="button small" onClick={() => void attempt(async () => setFresh(await api<WithSecret>("GET", `/v1/webhooks/${webhook.id}/secret`)))}>Show the secret</button>
              <button type="button" className="button small" onClick={() => void attempt(async () => setFresh(await api<WithSecret>("POST", `/v1/webhooks/${webhook.id}/rotate`)))}>Replace the secret</button>
              <button type="button" className="button small" onClick={() => setEditing(webhook)}>Edit</button>
              <button
                type="button"
                className="button small"
                onClick={() => void attempt(async () => {
                  await api("PATCH", `/v1/webhooks/${webhook.id}`, { body: { enabled: !webhook.enabled } });
                })}
              >
                {webhook.enabled ? "Turn off" : "Turn on"}
              </button>
              <button type="button" className="button small danger" onClick={() => setRemoving(webhook)}>Delete</button>
            </div>
            {open === webhook.id && <Deliveries id={webhook.id} />}
          </section>
        ))}
      </div>
      {editing !== null && (
        <Edit
          user={user}
          webhook={editing === "new" ? null : editing}
          types={found.data?.types ?? []}
          close={() => setEditing(null)}
          done={(made) => {
            setEditing(null);
            setFresh(made);
            void client.invalidateQueries({ queryKey: names.webhooks });
          }}
        />
      )}
      {fresh && (
        <Modal title="The webhook’s secret" close={() => setFresh(null)}>
          <p>Your software checks the header <span className="mono">webhook-signature</span> with it, as Standard Webhooks says.</p>
          <div className="row">
            <input className="input mono grow" aria-label="Secret" readOnly value={fresh.secret} onFocus={({ target }) => target.select()} />
            <Copy text={fresh.secret} label="the secret" />
          </div>
          <button type="button" className="button primary" onClick={() => setFresh(null)}>I have it</button>
        </Modal>
      )}
      {removing && (
        <Modal title={`Delete “${removing.name}”?`} close={() => setRemoving(null)}>
          <p>Nothing more is sent to it, and the log of its deliveries is gone.</p>
          <div className="row">
            <button
              type="button"
              className="button danger"
              onClick={() => void attempt(async () => {
                await api("DELETE", `/v1/webhooks/${removing.id}`);
                setRemoving(null);
                toast(`“${removing.name}” is deleted.`);
              })}
            >
              Delete
            </button>
            <button type="button" className="button plain" onClick={() => setRemoving(null)}>Keep it</button>
          </div>
        </Modal>
      )}
    </>
  );
}

function Deliveries({ id }: { id: string }) {
  const client = useQueryClient();
  const found = useInfiniteQuery({
    queryKey: names.deliveries(id),
    queryFn: ({ pageParam, signal }) => api<Page>("GET", `/v1/webhooks/${id}/deliveries${query({ cursor: pageParam, limit: 25 })}`, { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
    // While one is on its way, what came of it is news.
    refetchInterval: ({ state }) => (state.data?.pages[0]?.deliveries.some((one) => one.state === "pending") ? 2_000 : false),
  });
  const [shown, setShown] = useState<Delivery | null>(null);
  const [error, setError] = useState<unknown>(null);
  const again = async (delivery: Delivery): Promise<void> => {
    setError(null);
    try {
      await api("POST", `/v1/webhooks/${id}/deliveries/${delivery.id}/redeliver`);
      toast("It is sent once more.");
    } catch (problem) {
      setError(problem);
    }
    await client.invalidateQueries({ queryKey: names.deliveries(id) });
  };
  const list = found.data?.pages.flatMap((page) => page.deliveries) ?? [];
  return (
    <div className="stack">
      {error !== null && <Failure error={error} />}
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.data && list.length === 0 && <p className="quiet">Nothing was sent in the last week.</p>}
      {list.length > 0 && (
        <div className="table-scroll" tabIndex={0} role="region" aria-label="Deliveries">
          <table className="table">
            <thead><tr><th>Event</th><th>When</th><th>State</th><th>Attempts</th><th>Last answer</th><th><span className="hidden-text">Actions</span></th></tr></thead>
            <tbody>
              {list.map((delivery) => (
                <tr key={delivery.id}>
                  <td className="mono small">{delivery.type}</td>
                  <td><Time iso={delivery.created_at} /></td>
                  <td>{WORDS[delivery.state]}</td>
                  <td>{delivery.attempts}</td>
                  <td className="small">{delivery.status ?? (delivery.error === null ? "" : "None")} {delivery.error}</td>
                  <td>
                    <span className="row">
                      <button type="button" className="button small" onClick={() => setShown(delivery)}>Look</button>
                      {delivery.state !== "pending" && <button type="button" className="button small" onClick={() => void again(delivery)}>Send again</button>}
                    </span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {found.hasNextPage && (
        <button type="button" className="button" disabled={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>More</button>
      )}
      {shown && (
        <Modal title={shown.type} close={() => setShown(null)}>
          <pre className="mono small" style={{ overflow: "auto", maxHeight: "50vh" }} tabIndex={0}>{JSON.stringify(shown.body, null, 2)}</pre>
          <button type="button" className="button primary" onClick={() => setShown(null)}>Close</button>
        </Modal>
      )}
    </div>
  );
}

function Edit({ user, webhook, types, close, done }: {
  user: User;
  webhook: Webhook | null;
  types: string[];
  close: () => void;
  /** With the secret of a new one. */
  done: (made: WithSecret | null) => void;
}) {
  const [error, setError] = useState<unknown>(null);
  const save = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    setError(null);
    const body = { name: fields.get("name"), url: fields.get("url"), events: fields.getAll("event") };
    try {
      if (webhook) {
        await api<Webhook>("PATCH", `/v1/webhooks/${webhook.id}`, { body });
        done(null);
      } else {
        done(await api<WithSecret>("POST", "/v1/webhooks", { body: { ...body, tenant: fields.get("tenant") !== null } }));
      }
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <Modal title={webhook ? "Edit the webhook" : "New webhook"} close={close}>
      <form className="stack" onSubmit={(event) => void save(event)}>
        {error !== null && <Failure error={error} />}
        <Field label="Name" hint="Of the software that hears.">
          <input className="input" name="name" required maxLength={100} defaultValue={webhook?.name} />
        </Field>
        <Field label="URL" hint="https, on the public internet.">
          <input className="input" name="url" type="url" required maxLength={2048} placeholder="https://example.com/hooks" defaultValue={webhook?.url} />
        </Field>
        {!webhook && user.roles.includes("admin") && (
          <label className="row"><input type="checkbox" name="tenant" />Everybody’s assets, not only mine</label>
        )}
        <fieldset className="stack tight" style={{ border: 0, padding: 0, margin: 0 }}>
          <legend className="small" style={{ fontWeight: 560 }}>It hears of (nothing chosen: everything)</legend>
          <div className="stack tight" style={{ maxHeight: "14rem", overflow: "auto" }} tabIndex={0} role="group" aria-label="Types of events">
            {types.map((type) => (
              <label className="row mono small" key={type}>
                <input type="checkbox" name="event" value={type} defaultChecked={webhook?.events.includes(type)} />
                {type}
              </label>
            ))}
          </div>
        </fieldset>
        <div className="row">
          <button type="submit" className="button primary">{webhook ? "Save" : "Make the webhook"}</button>
          <button type="button" className="button plain" onClick={close}>Cancel</button>
        </div>
      </form>
    </Modal>
  );
}
