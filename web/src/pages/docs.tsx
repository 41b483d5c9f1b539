/** The API in words and to be tried, by Swagger UI: our own copy, which asks no other host for anything. */
import { useEffect, useRef } from "react";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";
import { session } from "../api/session";
import { useTitle } from "../parts/ui";

export function Docs() {
  useTitle("API");
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const domNode = place.current;
    if (!domNode) return;
    SwaggerUI({
      url: "/v1/openapi.json",
      domNode,
      // It would show the document to a host of theirs.
      validatorUrl: null,
      // Whoever is signed in tries it as oneself, unless a key was given.
      requestInterceptor: async (call) => {
        const token = call.headers.Authorization ? null : await session.token().catch(() => null);
        return token ? { ...call, headers: { ...call.headers, Authorization: `Bearer ${token}` } } : call;
      },
    });
    return () => domNode.replaceChildren();
  }, []);
  return (
    <>
      <div className="head">
        <h1>API</h1>
        <div className="row wrap">
          <a className="button small" href="/v1/openapi.json">OpenAPI</a>
          <a className="button small" href="/v1/asyncapi.json">Realtime, events and webhooks: AsyncAPI</a>
        </div>
      </div>
      <div className="paper" ref={place} />
    </>
  );
}
