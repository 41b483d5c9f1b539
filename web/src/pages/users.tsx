/** The people of the tenant, for its administrators. */
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { Link } from "wouter";
import { keys } from "../api/calls";
import { api, query } from "../api/client";
import type { Role, User } from "../api/types";
import { Icon } from "../parts/icon";
import { toast } from "../parts/toast";
import { useAttempt } from "../parts/attempt";
import { Copy, Failure, Field, Modal, Note, Time, useTitle } from "../parts/ui";
import { More } from "./library";

interface Account extends User {
  version: number;
}

const ROLES: [Role, string][] = [
  ["user", "Uploads"],
  ["reviewer", "Reviews"],
  ["operator", "Steers the fleet"],
  ["admin", "Manages everything"],
];

export function Users({ me }: { me: User }) {
  useTitle("Users");
  const client = useQueryClient();
  const [inviting, setInviting] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const found = useInfiniteQuery({
    queryKey: keys.users,
    queryFn: ({ pageParam, signal }) =>
      api<{ users: Account[]; next_cursor: string | null }>("GET", `/v1/users${query({ cursor: pageParam })}`, { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  });
  const change = async (account: Account, what: { roles?: Role[]; state?: string }): Promise<void> => {
    setError(null);
    try {
      await api("PATCH", `/v1/users/${account.id}`, { body: what, headers: { "if-match": `"${account.version}"` } });
      toast(`${account.name} was changed.`);
    } catch (problem) {
      setError(problem);
    }
    await client.invalidateQueries({ queryKey: keys.users });
  };
  const list = found.data?.pages.flatMap((page) => page.users) ?? [];
  return (
    <>
      <div className="head">
        <h1>Users</h1>
        <Link className="button" href="/audit">Audit</Link>
        <button type="button" className="button primary" onClick={() => setInviting(true)}><Icon name="users" />Invite</button>
      </div>
      <div className="stack">
        {error !== null && <Failure error={error} />}
        {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
        <div className="card table-scroll" tabIndex={0} role="region" aria-label="Users">
          <table className="table">
            <thead><tr><th>Name</th><th>Roles</th><th>State</th><th><span className="hidden-text">Actions</span></th></tr></thead>
            <tbody>
              {list.map((account) => (
                <tr key={account.id}>
                  <td>{account.name}<div className="quiet small">{account.email}</div></td>
                  <td>
                    <span className="row wrap">
                      {ROLES.map(([role, label]) => {
                        const has = account.roles.includes(role);
                        return (
                          <label className="row small" key={role} title={label}>
                            <input
                              type="checkbox"
                              checked={has}
                              // Nobody locks themselves out.
                              disabled={account.id === me.id && role === "admin"}
                              onChange={() =>
                                void change(account, {
                                  roles: has ? account.roles.filter((one) => one !== role) : [...account.roles, role],
                                })
                              }
                            />
                            <span className="hidden-text">{account.name}: </span>
                            {role}
                          </label>
                        );
                      })}
                    </span>
                  </td>
                  <td>
                    <span className={account.state === "active" ? "pill good" : "pill"}>
                      <Icon name={account.state === "active" ? "done" : "stop"} />
                      {account.state === "active" ? "Active" : "Blocked"}
                    </span>
                  </td>
                  <td>
                    {account.id !== me.id && (
                      <button
                        type="button"
                        className="button small"
                        aria-label={`${account.state === "active" ? "Block" : "Unblock"} ${account.name}`}
                        onClick={() => void change(account, { state: account.state === "active" ? "disabled" : "active" })}
                      >
                        {account.state === "active" ? "Block" : "Unblock"}
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        {found.hasNextPage && <More next={() => void found.fetchNextPage()} busy={found.isFetchingNextPage} />}
        <Invitations me={me} />
      </div>
      {inviting && (
        <Invite me={me} close={() => setInviting(false)} made={() => void client.invalidateQueries({ queryKey: keys.invitations })} />
      )}
    </>
  );
}

interface Invitation {
  id: string;
  tenant: string;
  email: string | null;
  roles: Role[];
  created_at: string;
  expires_at: string;
}

/** Those that nobody has used yet; nothing where there is none. */
function Invitations({ me }: { me: User }) {
  const found = useQuery({
    queryKey: keys.invitations,
    queryFn: ({ signal }) => api<{ invitations: Invitation[] }>("GET", "/v1/invitations?limit=100", { signal }),
  });
  const { error, attempt } = useAttempt(keys.invitations);
  const list = found.data?.invitations ?? [];
  const whose = ({ email }: Invitation): string => email ?? "Whoever has the link";
  if (list.length === 0 && !found.error && error === null) return null;
  return (
    <section className="stack" aria-label="Invitations">
      <h2>Open invitations</h2>
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {error !== null && <Failure error={error} />}
      {list.length > 0 && (
        <div className="card table-scroll" tabIndex={0} role="region" aria-label="Open invitations">
          <table className="table">
            <thead><tr><th>For</th><th>Roles</th><th>Made</th><th>Good until</th><th><span className="hidden-text">Actions</span></th></tr></thead>
            <tbody>
              {list.map((one) => (
                <tr key={one.id}>
                  <td>{whose(one)}{one.tenant !== me.tenant && <div className="quiet small">into {one.tenant}</div>}</td>
                  <td>{one.roles.join(", ")}</td>
                  <td><Time iso={one.created_at} /></td>
                  <td><Time iso={one.expires_at} /></td>
                  <td>
                    <button
                      type="button"
                      className="button small danger"
                      aria-label={`Take back the invitation of ${whose(one)}`}
                      onClick={() => void attempt(async () => {
                        await api("DELETE", `/v1/invitations/${one.id}`);
                        toast("The invitation is taken back.");
                      })}
                    >
                      Take back
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Invite({ me, close, made: told }: { me: User; close: () => void; made: () => void }) {
  const [error, setError] = useState<unknown>(null);
  const [made, setMade] = useState<{ url: string; email: string | null } | null>(null);
  const invite = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    const email = String(fields.get("email") ?? "").trim();
    const tenant = String(fields.get("tenant") ?? "").trim();
    setError(null);
    try {
      const body = { ...(email ? { email } : {}), ...(tenant ? { tenant } : {}), roles: fields.getAll("role") };
      setMade(await api("POST", "/v1/invitations", { body }));
      told();
    } catch (problem) {
      setError(problem);
    }
  };
  if (made) {
    return (
      <Modal title="The invitation" close={close}>
        <Note icon="link">
          Good once, for seven days. {made.email ? `A mail goes to ${made.email}, where mail is set up.` : "Send it yourself."}
        </Note>
        <div className="row">
          <input className="input mono grow" aria-label="Link" readOnly value={made.url} onFocus={({ target }) => target.select()} />
          <Copy text={made.url} label="the link" />
        </div>
        <button type="button" className="button primary" onClick={close}>Done</button>
      </Modal>
    );
  }
  return (
    <Modal title="Invite somebody" close={close}>
      <form className="stack" onSubmit={(event) => void invite(event)}>
        {error !== null && <Failure error={error} />}
        <Field label="E-mail" hint="Then only this address can use it. May be left empty.">
          <input className="input" name="email" type="email" maxLength={254} />
        </Field>
        {me.roles.includes("operator") && (
          <Field label="Tenant" hint="Where they will belong. A name that is new begins a tenant: give its first person the role admin.">
            <input className="input" name="tenant" defaultValue={me.tenant} maxLength={64} pattern="[A-Za-z0-9_@\-][A-Za-z0-9._@\-]*" />
          </Field>
        )}
        <fieldset className="row wrap" style={{ border: 0, padding: 0, margin: 0 }}>
          <legend className="small" style={{ fontWeight: 560 }}>Roles</legend>
          {ROLES.map(([role]) => (
            <label className="row" key={role}>
              <input type="checkbox" name="role" value={role} defaultChecked={role === "user"} />
              {role}
            </label>
          ))}
        </fieldset>
        <div className="row">
          <button type="submit" className="button primary">Make the link</button>
          <button type="button" className="button plain" onClick={close}>Cancel</button>
        </div>
      </form>
    </Modal>
  );
}
