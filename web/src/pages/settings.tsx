/** What a person decides for themselves: name, password, looks, notifications. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent, type ReactNode } from "react";
import { api, request } from "../api/client";
import { said } from "../api/problem";
import { session } from "../api/session";
import type { User } from "../api/types";
import { bytes, clock } from "../parts/format";
import { setTheme, theme, type Theme } from "../parts/theme";
import { notifies, setNotifies } from "../parts/notify";
import { toast } from "../parts/toast";
import { Failure, Field, useTitle } from "../parts/ui";
import { PASSWORD_MIN } from "./gate";

const THEMES: [Theme, string][] = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]];

export function Settings({ user }: { user: User }) {
  useTitle("Settings");
  const [look, setLook] = useState(theme());
  const [notes, setNotes] = useState(notifies());
  return (
    <>
      <div className="head"><h1>Settings</h1></div>
      <div className="stack" style={{ maxWidth: 620 }}>
        <Part
          title="Account"
          button="Save"
          submit={async (fields) => {
            session.update(await api<User>("PATCH", "/v1/me", { body: { name: fields.get("name") } }));
            toast("Saved.");
          }}
        >
          <Field label="Name"><input className="input" name="name" defaultValue={user.name} required maxLength={100} autoComplete="name" /></Field>
          <Field label="E-mail"><input className="input" value={user.email} readOnly autoComplete="email" /></Field>
          <p className="small quiet">Roles: {user.roles.join(", ")}. Tenant: {user.tenant}.</p>
        </Part>
        <Part
          title="Password"
          button="Change the password"
          submit={async (fields, form) => {
            await api("POST", "/v1/me/password", { body: { current: fields.get("current"), new: fields.get("new") } });
            form.reset();
            toast("The password is changed. Your other sessions have ended.");
          }}
        >
          <input type="hidden" name="username" value={user.email} autoComplete="username" />
          <Field label="Current password"><input className="input" name="current" type="password" required autoComplete="current-password" /></Field>
          <Field label="New password" hint={`At least ${PASSWORD_MIN} characters.`}>
            <input className="input" name="new" type="password" required minLength={PASSWORD_MIN} autoComplete="new-password" />
          </Field>
        </Part>
        <section className="card padded stack">
          <h2>Looks</h2>
          <Field label="Theme">
            <select
              className="input"
              value={look}
              onChange={({ target }) => {
                const chosen = target.value as Theme;
                setTheme(chosen);
                setLook(chosen);
              }}
            >
              {THEMES.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
            </select>
          </Field>
        </section>
        <section className="card padded stack">
          <h2>Notifications</h2>
          <label className="row">
            <input
              type="checkbox"
              checked={notes}
              onChange={({ target }) =>
                void setNotifies(target.checked).then((done) => {
                  setNotes(done && target.checked);
                  if (!done) toast("The browser does not allow notifications of this page.");
                })
              }
            />
            On this device, when something is playable, ready or has failed
          </label>
          <Mails />
        </section>
        <Room />
        <Export />
      </div>
    </>
  );
}

interface Limits {
  max_bytes: number;
  max_seconds: number;
  kinds: string[];
  stored: { bytes: number; most: number } | null;
  today: { assets: number; most: number } | null;
}

/** What fits, before anybody tries. */
function Room() {
  const { data, error } = useQuery({
    queryKey: ["limits"],
    queryFn: ({ signal }) => api<Limits>("GET", "/v1/limits", { signal }),
  });
  // Who may not upload has none.
  if (error || !data) return null;
  return (
    <section className="card padded stack">
      <h2>Uploads</h2>
      <p className="small quiet">
        Up to {bytes(data.max_bytes)} and {clock(data.max_seconds)} each: {data.kinds.join(", ")}.
        {data.stored && ` ${bytes(data.stored.bytes)} of ${bytes(data.stored.most)} are used.`}
        {data.today && ` ${data.today.assets} of ${data.today.most} within the last day.`}
      </p>
    </section>
  );
}

/** One's own data, as a file. */
function Export() {
  const [busy, setBusy] = useState(false);
  const take = async (): Promise<void> => {
    setBusy(true);
    try {
      const file = await (await request("GET", "/v1/me/export")).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(file);
      link.download = "reelfleet-export.json";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } catch (problem) {
      toast(`Not exported: ${said(problem)}`);
    } finally {
      setBusy(false);
    }
  };
  return (
    <section className="card padded stack">
      <h2>Your data</h2>
      <p className="small quiet">All that is kept of you, as one JSON file: account, sessions, keys, uploads, verdicts, mails.</p>
      <div>
        <button type="button" className="button" disabled={busy} onClick={() => void take()}>
          {busy ? "One moment…" : "Export my data"}
        </button>
      </div>
    </section>
  );
}

interface Notices {
  ready: boolean;
  failed: boolean;
  weekly: boolean;
}

function Mails() {
  const client = useQueryClient();
  const key = ["notices"];
  const { data, error } = useQuery({
    queryKey: key,
    queryFn: ({ signal }) => api<Notices>("GET", "/v1/me/notices", { signal }),
  });
  const change = async (what: Partial<Notices>): Promise<void> => {
    try {
      client.setQueryData(key, await api<Notices>("PATCH", "/v1/me/notices", { body: what }));
    } catch (problem) {
      toast(`Not changed: ${said(problem)}`);
    }
  };
  if (error) return <Failure error={error} />;
  if (!data) return null;
  const wishes: [keyof Notices, string][] = [
    ["ready", "By mail, when something is ready"],
    ["failed", "By mail, when something could not be processed"],
    ["weekly", "By mail on Mondays, what the week brought and what waits for review"],
  ];
  return wishes.map(([name, label]) => (
    <label className="row" key={name}>
      <input type="checkbox" checked={data[name]} onChange={({ target }) => void change({ [name]: target.checked })} />
      {label}
    </label>
  ));
}

function Part({
  title, button, submit, children,
}: { title: string; button: string; submit: (fields: FormData, form: HTMLFormElement) => Promise<void>; children: ReactNode }) {
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const send = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget;
    setBusy(true);
    setError(null);
    try {
      await submit(new FormData(form), form);
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form className="card padded stack" aria-label={title} onSubmit={(event) => void send(event)}>
      <h2>{title}</h2>
      {error !== null && <Failure error={error} />}
      {children}
      <div><button type="submit" className="button primary" disabled={busy}>{button}</button></div>
    </form>
  );
}
