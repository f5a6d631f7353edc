// What pages do beside what they show: each part looks for its place, and does nothing where there is none.

import "uplot/dist/uPlot.min.css";
import { follow } from "./live";
import { suggest } from "./names";
import { refresh } from "./refresh";

for (const section of document.querySelectorAll<HTMLElement>("[data-live]")) follow(section);
for (const place of document.querySelectorAll<HTMLElement>("[data-refresh]")) refresh(place);
for (const form of document.querySelectorAll<HTMLFormElement>("[data-names]")) suggest(form);
