/** API keys of one's own: shown once, then known by their beginning. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { Link } from "wouter";
import { keys as names } from "../api/calls";
import { api } from "../api/client";
import type { User } from "../api/types";
import { useAttempt } from "../parts/attempt";
import { Icon } from "../parts/icon";
import { toast } from "../parts/toast";
import { Copy, Empty, Failure, Field, Modal, Note, Time, useTitle } from "../parts/ui";

interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  scopes: string[];
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
}

interface FreshKey extends ApiKey {
  key: string;
}

const SCOPES: [string, string][] = [
  ["uploads:write", "Upload"],
  ["assets:read", "Read the library"],
  ["assets:write", "Edit and delete"],
  ["realtime", "Listen to what happens"],
];

export function Keys({ user }: { user: User }) {
  useTitle("Keys");
  const client = useQueryClient();
  const found = useQuery({
    queryKey: names.apiKeys,
    queryFn: ({ signal }) => api<{ keys: ApiKey[] }>("GET", "/v1/keys", { signal }),
  });
  const [making, setMaking] = useState(false);
  const [fresh, setFresh] = useState<FreshKey | null>(null);
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  const { error, attempt } = useAttempt(names.apiKeys);
  const list = found.data?.keys ?? [];
  return (
    <>
      <div className="head">
        <h1>Keys</h1>
        <Link className="button" href="/docs">The API</Link>
        <button type="button" className="button primary" onClick={() => setMaking(true)}><Icon name="key" />New key</button>
      </div>
      <div className="stack">
        {error !== null && <Failure error={error} />}
        {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
        {found.data && list.length === 0 && (
          <Empty icon="key" title="No keys yet"><p>A key lets a program upload and read as you, with no more rights than you give it.</p></Empty>
        )}
        {list.length > 0 && (
          <div className="card table-scroll" tabIndex={0} role="region" aria-label="Keys">
            <table className="table">
              <thead><tr><th>Name</th><th>Begins with</th><th>May</th><th>Made</th><th>Last used</th><th>Good</th><th><span className="hidden-text">Actions</span></th></tr></thead>
              <tbody>
                {list.map((key) => (
                  <tr key={key.id}>
                    <td>{key.name}</td>
                    <td className="mono small">{key.prefix}…</td>
                    <td className="small">{key.scopes.join(", ")}</td>
                    <td><Time iso={key.created_at} /></td>
                    <td>{key.last_used_at ? <Time iso={key.last_used_at} /> : "Never"}</td>
                    <td><Until at={key.expires_at} /></td>
                    <td>
                      <span className="row">
                        <button
                          type="button"
                          className="button small"
                          aria-label={`Replace ${key.name}`}
                          onClick={() => void attempt(async () => setFresh(await api<FreshKey>("POST", `/v1/keys/${key.id}/rotate`)))}
                        >
                          Replace
                        </button>
                        <button type="button" className="button small danger" aria-label={`Revoke ${key.name}`} onClick={() => setRevoking(key)}>Revoke</button>
                      </span>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </div>
      {making && (
        <NewKey
          user={user}
          close={() => setMaking(false)}
          made={(key) => {
            setMaking(false);
            setFresh(key);
            void client.invalidateQueries({ queryKey: names.apiKeys });
          }}
        />
      )}
      {fresh && (
        <Modal title="Your key" close={() => setFresh(null)}>
          <Note tone="warn" icon="warn">It is shown this once. Keep it where secrets are kept.</Note>
          <div className="row">
            <input className="input mono grow" aria-label="Key" readOnly value={fresh.key} onFocus={({ target }) => target.select()} />
            <Copy text={fresh.key} label="the key" />
          </div>
          <button type="button" className="button primary" onClick={() => setFresh(null)}>I have it</button>
        </Modal>
      )}
      {revoking && (
        <Modal title={`Revoke “${revoking.name}”?`} close={() => setRevoking(null)}>
          <p>Programs that use it are refused from now on.</p>
          <div className="row">
            <button
              type="button"
              className="button danger"
              onClick={() =>
                void attempt(async () => {
                  await api("DELETE", `/v1/keys/${revoking.id}`);
                  setRevoking(null);
                  toast(`“${revoking.name}” is revoked.`);
                })
              }
            >
              Revoke
            </button>
            <button type="button" className="button plain" onClick={() => setRevoking(null)}>Keep it</button>
          </div>
        </Modal>
      )}
    </>
  );
}

const DAY_MS = 86_400_000;
const LIVES: [number, string][] = [[0, "Until it is revoked"], [1, "For a day"], [7, "For 7 days"], [30, "For 30 days"], [90, "For 90 days"], [365, "For a year"]];

/** Until when a key is good. */
function Until({ at }: { at: string | null }) {
  if (at === null) return "Until revoked";
  if (Date.parse(at) <= Date.now()) return <span className="pill warn"><Icon name="clock" />Expired</span>;
  return <time dateTime={at}>until {new Date(at).toLocaleDateString(undefined, { dateStyle: "medium" })}</time>;
}

function NewKey({ user, close, made }: { user: User; close: () => void; made: (key: FreshKey) => void }) {
  const [error, setError] = useState<unknown>(null);
  const offered = [
    ...SCOPES,
    ...(user.roles.includes("reviewer") ? [["reviews", "Decide over reviews"] as [string, string]] : []),
    ...(user.roles.includes("operator") ? [["ops", "Watch and steer the fleet"] as [string, string]] : []),
  ];
  const make = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    setError(null);
    try {
      const days = Number(fields.get("days"));
      const body = {
        name: fields.get("name"),
        scopes: fields.getAll("scope"),
        ...(days > 0 ? { expires_at: new Date(Date.now() + days * DAY_MS).toISOString() } : {}),
      };
      made(await api<FreshKey>("POST", "/v1/keys", { body }));
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <Modal title="New key" close={close}>
      <form className="stack" onSubmit={(event) => void make(event)}>
        {error !== null && <Failure error={error} />}
        <Field label="Name" hint="Of the program that will use it.">
          <input className="input" name="name" required maxLength={100} />
        </Field>
        <fieldset className="stack tight" style={{ border: 0, padding: 0, margin: 0 }}>
          <legend className="small" style={{ fontWeight: 560 }}>It may</legend>
          {offered.map(([scope, label]) => (
            <label className="row" key={scope}>
              <input type="checkbox" name="scope" value={scope} defaultChecked={SCOPES.some(([known]) => known === scope)} />
              {label}
              <span className="mono quiet small">{scope}</span>
            </label>
          ))}
        </fieldset>
        <Field label="It is good" hint="Then programs that use it are refused.">
          <select className="input" name="days" defaultValue={0}>
            {LIVES.map(([days, label]) => <option key={days} value={days}>{label}</option>)}
          </select>
        </Field>
        <div className="row">
          <button type="submit" className="button primary">Make the key</button>
          <button type="button" className="button plain" onClick={close}>Cancel</button>
        </div>
      </form>
    </Modal>
  );
}
