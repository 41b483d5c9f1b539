import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Problem } from "./api/problem";
import { session } from "./api/session";
import { App } from "./app";
import { keepLive } from "./live";
import { followTheme } from "./parts/theme";
import "./style/index.css";

followTheme();

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // What the server refuses it refuses again; the rest comes back.
      retry: (count, error) => (!(error instanceof Problem) || error.passing) && count < 4,
      staleTime: 5_000,
    },
  },
});

keepLive(client);
let user: string | null = null;
session.subscribe(() => {
  const now = session.state.status === "in" ? session.state.user.id : null;
  // Nobody sees what somebody else was shown.
  if (user !== null && now !== user) client.clear();
  user = now;
});
// A player on somebody else's page shows what is open to all, as nobody in particular.
if (!location.pathname.startsWith("/embed/")) void session.begin();

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <App />
      </QueryClientProvider>
    </StrictMode>,
  );
}
