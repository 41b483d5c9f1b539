/** The player alone, for a frame on somebody else's page: of what is open to everybody, whoever looks. */
import { useQuery } from "@tanstack/react-query";
import { explore, keys } from "../api/calls";
import { Problem } from "../api/problem";
import { Icon } from "../parts/icon";
import { Empty, Failure, useTitle } from "../parts/ui";
import { Screen } from "./watch";

export function Embed({ id }: { id: string }) {
  const found = useQuery({
    queryKey: keys.asset(id),
    queryFn: ({ signal }) => explore.show(id, signal),
    staleTime: Infinity,
  });
  const asset = found.data;
  useTitle(asset?.name ?? "Watch");
  if (found.error instanceof Problem && [404, 410].includes(found.error.status)) {
    return (
      <main className="embed">
        <Empty icon="film" title="There is nothing to watch here">
          <p>It was deleted, or it is not shared any more.</p>
        </Empty>
      </main>
    );
  }
  if (found.error && !asset) return <main className="embed"><Failure error={found.error} again={() => void found.refetch()} /></main>;
  if (!asset) return <main className="embed"><div className="frame skeleton" role="status" aria-label="Loading" /></main>;
  return (
    <main className="embed">
      <h1>
        <a href={`/watch/${asset.id}`} target="_blank" rel="noopener">
          {asset.name}
          <span className="hidden-text"> on reelfleet, in a new tab</span>
          <Icon name="link" />
        </a>
      </h1>
      <Screen asset={asset} progress={null} />
    </main>
  );
}
