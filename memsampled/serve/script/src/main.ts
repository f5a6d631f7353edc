// What pages do beside what they show: each part looks for its place, and does nothing where there is none.

import "uplot/dist/uPlot.min.css";
import { follow } from "./live";
import { suggest } from "./names";

for (const section of document.querySelectorAll<HTMLElement>("[data-live]")) follow(section);
for (const form of document.querySelectorAll<HTMLFormElement>("[data-names]")) suggest(form);
