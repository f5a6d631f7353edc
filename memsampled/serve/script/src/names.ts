// Names that contain what somebody types, below the field for it: a combobox as ARIA describes it.

interface Found {
  kind: string;
  text: string;
  project: string;
  suite: string;
}

/** How long a pause in typing is, in milliseconds. */
const PAUSE = 80;

const PAGES: Record<string, (it: Found) => [string, Record<string, string>]> = {
  test: (it) => ["test", { project: it.project, suite: it.suite, test: it.text }],
  suite: (it) => ["suite", { project: it.project, suite: it.text }],
  release: (it) => ["runs", { project: it.project, release: it.text }],
  host: (it) => ["runs", { host: it.text }],
  role: (it) => ["suite", { project: it.project, suite: it.suite }],
};

function address(root: string, it: Found): string {
  const [page, query] = (PAGES[it.kind] ?? PAGES.role!)(it);
  return `${root}${page}?${new URLSearchParams(query)}`;
}

/** Shows names below the field of a form, which leads to the page of all of them without this. */
export function suggest(form: HTMLFormElement): void {
  const field = form.querySelector<HTMLInputElement>("input[type=search]");
  const from = form.dataset.names;
  if (!field || !from) return;
  const root = from.replace(/api\/v1\/search$/, "");
  const list = document.createElement("ul");
  list.id = "names";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Names");
  form.append(list);
  field.autocomplete = "off";
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  field.setAttribute("aria-expanded", "false");

  let chosen = -1;
  let asked = 0;
  let timer = 0;

  const hide = (): void => {
    chosen = -1;
    asked += 1;
    list.hidden = true;
    list.replaceChildren();
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  };

  const choose = (index: number): void => {
    const items = [...list.children];
    chosen = items.length === 0 ? -1 : (index + items.length) % items.length;
    items.forEach((item, place) => item.setAttribute("aria-selected", String(place === chosen)));
    const item = items[chosen];
    if (item) {
      field.setAttribute("aria-activedescendant", item.id);
      item.scrollIntoView({ block: "nearest" });
    }
  };

  const show = (found: Found[]): void => {
    list.replaceChildren(
      ...found.map((it, place) => {
        const item = document.createElement("li");
        item.id = `name-${place}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", "false");
        const name = document.createElement("b");
        name.textContent = it.text;
        const what = document.createElement("small");
        const kind = it.kind === "host" ? "machine" : it.kind;
        what.textContent = [kind, it.suite, it.project].filter((part) => part !== "").join(" · ");
        item.append(name, what);
        item.dataset.page = address(root, it);
        item.addEventListener("mousedown", (event) => {
          event.preventDefault();
          location.assign(item.dataset.page ?? "");
        });
        return item;
      }),
    );
    list.hidden = found.length === 0;
    field.setAttribute("aria-expanded", String(found.length > 0));
    chosen = -1;
    field.removeAttribute("aria-activedescendant");
  };

  const ask = async (): Promise<void> => {
    const text = field.value.trim();
    if (text === "") return hide();
    asked += 1;
    const mine = asked;
    try {
      const answer = await fetch(`${from}?${new URLSearchParams({ q: text })}`);
      const found = answer.ok ? ((await answer.json()) as Found[]) : [];
      // An answer that comes late is about what was typed before.
      if (mine === asked) show(found);
    } catch {
      if (mine === asked) hide();
    }
  };

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void ask(), PAUSE);
  });
  field.addEventListener("blur", () => {
    clearTimeout(timer);
    hide();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (list.hidden) return;
      event.preventDefault();
      choose(event.key === "ArrowDown" ? chosen + 1 : chosen < 0 ? -1 : chosen - 1);
    } else if (event.key === "Escape") {
      hide();
    } else if (event.key === "Enter" && chosen >= 0) {
      event.preventDefault();
      const item = list.children[chosen] as HTMLElement | undefined;
      location.assign(item?.dataset.page ?? "");
    }
  });
}
