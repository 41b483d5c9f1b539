/** What people did, and what became by itself of what they were asked: the audit of the tenant, for its administrators. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { keys } from "../api/calls";
import { api, query } from "../api/client";
import { Icon } from "../parts/icon";
import { Empty, Failure, Time, useTitle } from "../parts/ui";
import { More } from "./library";

interface Deed {
  id: string;
  at: string;
  who: string;
  email: string | null;
  what: string;
  subject: string;
  detail: unknown;
}

const KINDS: [string, string][] = [
  ["", "Everything"],
  ["review", "Reviews"],
  ["user", "People"],
  ["key", "Keys"],
  ["webhook", "Webhooks"],
];

export function Audit() {
  useTitle("Audit");
  const [kind, setKind] = useState("");
  return (
    <>
      <div className="head">
        <h1>Audit</h1>
        <select className="input" aria-label="Show" value={kind} onChange={({ target }) => setKind(target.value)}>
          {KINDS.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
        <Link className="button" href="/users">Users</Link>
      </div>
      <Deeds path="/v1/audit" kind={kind} />
    </>
  );
}

/** A list of them, the latest first: of a tenant or of the installation. */
export function Deeds({ path, kind = "" }: { path: "/v1/audit" | "/v1/ops/audit"; kind?: string }) {
  const found = useInfiniteQuery({
    queryKey: keys.audit(path, kind),
    queryFn: ({ pageParam, signal }) =>
      api<{ entries: Deed[]; next_cursor: string | null }>("GET", `${path}${query({ kind, cursor: pageParam })}`, { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  });
  const list = found.data?.pages.flatMap((page) => page.entries) ?? [];
  return (
    <div className="stack">
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.isPending && <div className="card padded skeleton" style={{ height: 220 }} role="status" aria-label="Loading" />}
      {found.data && list.length === 0 && (
        <Empty icon="info" title={kind ? "Nothing of this kind yet" : "Nobody has done anything yet"} />
      )}
      {list.length > 0 && (
        <div className="card table-scroll" tabIndex={0} role="region" aria-label="Audit">
          <table className="table">
            <thead><tr><th>When</th><th>Who</th><th>What</th><th>To what</th><th>How</th></tr></thead>
            <tbody>
              {list.map((deed) => (
                <tr key={deed.id}>
                  <td><Time iso={deed.at} /></td>
                  <td title={deed.who}>{deed.email ?? deed.who}</td>
                  <td><Icon name="gear" /> {deed.what}</td>
                  <td className="mono small">{deed.subject}</td>
                  <td className="mono small clip">{JSON.stringify(deed.detail)}</td>
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
