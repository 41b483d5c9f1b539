/** The desk of this page, joined to the API and to its uploader. */
import { api } from "./api/client";
import { Desk } from "./upload/desk";
import { look, type Estimate } from "./upload/estimate";
import { uploader } from "./uploads";

type Given = Parameters<typeof uploader.add>[0][number];

/** What is known of a file goes along, as with the request that reserves it. */
async function quote(file: File, views: number): Promise<Estimate> {
  const body = { size: file.size, type: file.type, views, ...(await look(file)) };
  return api<Estimate>("POST", "/v1/estimates", { body });
}

export const desk = new Desk<Given>(quote, (given) => uploader.add(given));
