/** The ways in: sign-in, sign-up, and back in after a forgotten password. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useId, useState, type FormEvent, type ReactNode } from "react";
import { Link, useLocation } from "wouter";
import { api, query } from "../api/client";
import { session } from "../api/session";
import { Failure, Field, Note, useTitle } from "../parts/ui";

const parameter = (name: string): string | null => new URLSearchParams(location.search).get(name);
/** Short words of eight letters are what guessing tries first. */
export const PASSWORD_MIN = 10;

function Form({
  title, intro, button, submit, before, children, after,
}: {
  title: string;
  intro?: string;
  button: string;
  submit: (fields: FormData) => Promise<void>;
  before?: ReactNode;
  children: ReactNode;
  after?: ReactNode;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const heading = useId();
  useTitle(title);
  const send = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await submit(new FormData(event.currentTarget));
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <form className="card padded stack" aria-labelledby={heading} onSubmit={(event) => void send(event)}>
        <div className="stack tight">
          <h1 id={heading}>{title}</h1>
          {intro && <p className="quiet">{intro}</p>}
        </div>
        {error !== null && <Failure error={error} />}
        {before}
        {children}
        <button type="submit" className="button primary" disabled={busy}>
          {busy ? "One moment…" : button}
        </button>
      </form>
      {after && <p className="row between wrap small" style={{ marginTop: 16 }}>{after}</p>}
    </>
  );
}

const text = (fields: FormData, name: string): string => String(fields.get(name) ?? "");

function Email() {
  return (
    <Field label="E-mail">
      <input className="input" name="email" type="email" autoComplete="username" required maxLength={254} />
    </Field>
  );
}

function Password({ fresh = false }: { fresh?: boolean }) {
  return (
    <Field label={fresh ? "New password" : "Password"} hint={fresh && `At least ${PASSWORD_MIN} characters.`}>
      <input
        className="input"
        name="password"
        type="password"
        autoComplete={fresh ? "new-password" : "current-password"}
        minLength={fresh ? PASSWORD_MIN : 1}
        maxLength={256}
        required
      />
    </Field>
  );
}

/** How people get in here. */
interface Ways {
  sign_up: "open" | "invited" | "provider" | "closed";
  provider: { name: string; url: string } | null;
}

const useWays = (): Ways | undefined =>
  useQuery({
    queryKey: ["ways"],
    queryFn: ({ signal }) => api<Ways>("GET", "/v1/auth/ways", { anonymous: true, signal }),
    staleTime: Infinity,
  }).data;

/** Why nobody came in by the provider: words of ours alone are shown, whatever the address says. */
const FAILED: Record<string, string> = {
  state: "That took too long, or began in another window. Try it again.",
  denied: "The sign-in was called off there.",
  provider: "The sign-in there did not work. Try it again later, or ask an administrator.",
  email_unverified: "Your address is not confirmed there. Confirm it first.",
  sign_up_closed: "There is no account for you here yet. Ask an administrator to invite you.",
  invitation_invalid: "The invitation was used, is over, or is for another address. Ask for a new one.",
  disabled: "Your account is shut. Ask an administrator.",
};

/** The other way in: a link, since it leads to another site. */
function ByProvider({ ways }: { ways: Ways | undefined }) {
  if (!ways?.provider) return null;
  const next = parameter("next") ?? (location.pathname.startsWith("/sign-") ? null : location.pathname + location.search);
  const href = ways.provider.url + query({ next, invitation: parameter("invitation") });
  return <a className="button" href={href}>Continue with {ways.provider.name}</a>;
}

export function SignIn() {
  const ways = useWays();
  const failed = parameter("failed");
  const linking = parameter("link") === "provider";
  return (
    <Form
      title="Sign in"
      button="Sign in"
      submit={(fields) => session.signIn(text(fields, "email"), text(fields, "password"))}
      before={
        <>
          {failed && <Note tone="bad" icon="warn">{FAILED[failed] ?? "That did not work. Try it again."}</Note>}
          {linking ? (
            <Note>
              You have an account with this address. Sign in with its password once, and {ways?.provider?.name ?? "the provider"} lets
              you in from then on.
            </Note>
          ) : (
            <ByProvider ways={ways} />
          )}
        </>
      }
      after={
        <>
          {(ways?.sign_up !== "closed" || parameter("invitation")) && (
            <Link href={`/sign-up${location.search}`}>Make an account</Link>
          )}
          <Link href="/forgot">Forgot the password?</Link>
          <Link href="/explore">See what is public</Link>
        </>
      }
    >
      <Email />
      <Password />
    </Form>
  );
}

export function SignUp() {
  const ways = useWays();
  return (
    <Form
      title="Make an account"
      intro="Upload once, watch a moment later, on any screen."
      button="Make the account"
      submit={(fields) =>
        session.signUp(text(fields, "name"), text(fields, "email"), text(fields, "password"), parameter("invitation"))
      }
      before={<ByProvider ways={ways} />}
      after={<Link href={`/sign-in${location.search}`}>I have an account</Link>}
    >
      <Field label="Name">
        <input className="input" name="name" autoComplete="name" required maxLength={120} />
      </Field>
      <Email />
      <Password fresh />
    </Form>
  );
}

export function Forgot() {
  const [sent, setSent] = useState(false);
  if (sent) {
    return (
      <Note tone="good" icon="done">
        If there is an account with this address, a mail with a link is on its way.
      </Note>
    );
  }
  return (
    <Form
      title="Forgot the password?"
      intro="We send a link that lets you set another one."
      button="Send the link"
      submit={async (fields) => {
        await api("POST", "/v1/auth/password-reset", { body: { email: text(fields, "email") }, anonymous: true });
        setSent(true);
      }}
      after={<Link href="/sign-in">Back to sign-in</Link>}
    >
      <Email />
    </Form>
  );
}

export function Reset() {
  const [, go] = useLocation();
  // The token leaves the address at once: it is nobody's business, the history's neither.
  const [token] = useState(() => parameter("token"));
  useEffect(() => history.replaceState(history.state, "", location.pathname), []);
  const [done, setDone] = useState(false);
  if (done) {
    return (
      <div className="stack">
        <Note tone="good" icon="done">The password is set. All other sessions have ended.</Note>
        <button type="button" className="button primary" onClick={() => go("/sign-in")}>Sign in</button>
      </div>
    );
  }
  return (
    <Form
      title="Set a new password"
      button="Set the password"
      submit={async (fields) => {
        const body = { token, password: text(fields, "password") };
        await api("POST", "/v1/auth/password-reset/confirm", { body, anonymous: true });
        setDone(true);
      }}
    >
      <Password fresh />
    </Form>
  );
}
