// Brings what is on a page up to date while it is looked at, without loading it anew: what has the focus keeps it.

/** Reads the page again every so many seconds, as `data-refresh` says. */
export function refresh(place: HTMLElement): void {
  const seconds = Number(place.dataset.refresh);
  const again = async (): Promise<void> => {
    if (document.hidden || place.contains(document.activeElement)) return;
    try {
      const answer = await fetch(location.href);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-refresh]");
      if (fresh) place.replaceChildren(...fresh.childNodes);
    } catch {
      // The next time.
    }
  };
  setInterval(() => void again(), seconds * 1000);
}
