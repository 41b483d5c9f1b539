/** Spending: what each tenant's uploads took, day by day, what may start within a day, and what waits for that. */
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { keys as names } from "../api/calls";
import { api, query } from "../api/client";
import { money } from "../upload/estimate";
import { useAttempt } from "../parts/attempt";
import { toast } from "../parts/toast";
import { Empty, Failure, Field, Modal, Note, Time } from "../parts/ui";

interface Day {
  day: string;
  tenant: string;
  jobs: number;
  estimated_micros: number;
  spent: { micros: number; cpu_seconds: number; output_bytes: number };
}

interface Budget {
  tenant: string;
  micros: number;
  by: string;
  at: string;
}

interface Spent {
  currency: string;
  days: Day[];
  budgets: Budget[];
  parked: { tenant: string; jobs: number }[];
}

const DAYS = [7, 31, 366];

export function Spending() {
  const [days, setDays] = useState(7);
  const [changing, setChanging] = useState<string | null>(null);
  const { error, attempt } = useAttempt(names.operations);
  const found = useQuery({
    queryKey: [...names.operations, "spent", days],
    queryFn: ({ signal }) => api<Spent>("GET", `/v1/ops/spent${query({ days: String(days) })}`, { signal }),
  });
  if (found.error) return <Failure error={found.error} again={() => void found.refetch()} />;
  if (!found.data) return <p className="quiet">Looking…</p>;
  const { currency, parked } = found.data;
  const of = (tenant: string): Budget | undefined => found.data.budgets.find((budget) => budget.tenant === tenant);
  const tenants = [...new Set([...found.data.budgets, ...parked, ...found.data.days].map((one) => one.tenant))].sort();
  const set = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const tenant = changing ?? "";
    const text = String(new FormData(event.currentTarget).get("amount")).trim();
    const micros = text === "" ? null : Math.round(Number(text) * 1e6);
    setChanging(null);
    void attempt(async () => {
      const { started } = await api<{ started: number }>("PUT", `/v1/ops/budgets/${encodeURIComponent(tenant)}`, { body: { micros } });
      toast(`${tenant}: ${micros === null ? "no budget" : `${money(micros, currency)} a day`}.${started > 0 ? ` ${started} went on.` : ""}`);
    });
  };
  return (
    <div className="stack">
      {error !== null && <Failure error={error} />}
      <section>
        <h2>Budgets</h2>
        {tenants.length === 0 && <Note>Nothing has been uploaded yet, and nobody has a budget.</Note>}
        {tenants.length > 0 && (
          <div className="card table-scroll" tabIndex={0} role="region" aria-label="Budgets">
            <table className="table">
              <thead><tr><th>Tenant</th><th>May start a day</th><th>Set</th><th>Waiting for it</th><th>Controls</th></tr></thead>
              <tbody>
                {tenants.map((tenant) => {
                  const budget = of(tenant);
                  const waits = parked.find((one) => one.tenant === tenant)?.jobs ?? 0;
                  return (
                    <tr key={tenant}>
                      <td>{tenant}</td>
                      <td>{budget ? money(budget.micros, currency) : "anything"}</td>
                      <td>{budget ? <><Time iso={budget.at} /> by {budget.by}</> : "—"}</td>
                      <td>{waits > 0 ? <span className="pill warn">{waits} waiting</span> : "—"}</td>
                      <td><button type="button" className="button small" aria-label={`Change the budget of ${tenant}`} onClick={() => setChanging(tenant)}>Change</button></td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        )}
      </section>
      <section>
        <div className="row wrap">
          <h2 className="grow">Spent</h2>
          <select className="input" aria-label="How many days" value={days} onChange={({ target }) => setDays(Number(target.value))}>
            {DAYS.map((one) => <option key={one} value={one}>{one} days</option>)}
          </select>
        </div>
        {found.data.days.length === 0 ? (
          <Empty icon="info" title="Nothing was spent in these days" />
        ) : (
          <div className="card table-scroll" tabIndex={0} role="region" aria-label="Spent">
            <table className="table">
              <thead><tr><th>Day (UTC)</th><th>Tenant</th><th>Jobs</th><th>Estimated</th><th>Measured</th><th>Processor</th></tr></thead>
              <tbody>
                {found.data.days.map((line) => (
                  <tr key={`${line.day} ${line.tenant}`}>
                    <td>{line.day}</td>
                    <td>{line.tenant}</td>
                    <td>{line.jobs}</td>
                    <td>{money(line.estimated_micros, currency)}</td>
                    <td>{money(line.spent.micros, currency)}</td>
                    <td>{line.spent.cpu_seconds.toFixed(1)} s</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      {changing !== null && (
        <Modal title={`Budget of ${changing}`} close={() => setChanging(null)}>
          <form className="stack" onSubmit={set}>
            <Field label={`At most a day, in ${currency}`} hint="By the estimates. Empty: no budget. 0: nothing starts. What waits starts as soon as it fits.">
              <input className="input" name="amount" type="number" min="0" step="0.01" max="1000000000" defaultValue={of(changing) ? String((of(changing)?.micros ?? 0) / 1e6) : ""} />
            </Field>
            <div className="row">
              <button type="submit" className="button primary">Set</button>
              <button type="button" className="button plain" onClick={() => setChanging(null)}>Leave it</button>
            </div>
          </form>
        </Modal>
      )}
    </div>
  );
}
