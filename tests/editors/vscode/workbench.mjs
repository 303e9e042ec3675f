// A window of VS Code in Chromium, and what a user does in it. Nothing waits for time to pass, only for what is seen.
import fs from "node:fs";
import path from "node:path";

import { chromium, expect } from "@playwright/test";

import { ARTIFACTS, CHROMIUM } from "./surroundings.mjs";

const SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"];

export async function openBrowser() {
  const quiet = ["--disable-background-networking", "--disable-component-update"];
  return chromium.launch({ executablePath: CHROMIUM(), args: [...SWITCHES, ...quiet] });
}

export class Workbench {
  /** A window on a folder, or on none. */
  static async open(browser, server, folder, viewport = { width: 1280, height: 800 }) {
    const context = await browser.newContext({ viewport, deviceScaleFactor: 1 });
    const workbench = new Workbench(await context.newPage(), server, folder);
    await workbench.reload();
    return workbench;
  }

  constructor(page, server, folder) {
    this.page = page;
    this.server = server;
    this.folder = folder;
    this.editor = page.locator(".editor-group-container .monaco-editor[data-uri]").first();
    this.squiggles = page.locator(".squiggly-info, .squiggly-hint, .squiggly-warning, .squiggly-error");
    this.menu = page.locator(".action-widget .monaco-list-row");
    this.hover = page.locator(".monaco-hover:not(.hidden)");
    this.toasts = page.locator(".notifications-toasts .notification-list-item");
  }

  async reload() {
    await this.page.goto(this.server.address(this.folder));
    const ready = this.folder ? ".explorer-folders-view .monaco-list-row" : ".monaco-workbench .statusbar-item";
    await this.page.locator(ready).first().waitFor({ timeout: 60_000 });
  }

  async close() {
    await this.page.context().close();
  }

  /** The lines of the editor as they are drawn, those that fit the window. */
  line(text) {
    return this.page.locator(".view-line", { hasText: text });
  }

  squiggle(severity) {
    return this.page.locator(`.squiggly-${severity}`);
  }

  /** Open a file as a person does, from the explorer. */
  async openFile(name) {
    await this.page.locator(".explorer-folders-view .monaco-list-row", { hasText: name }).dblclick();
    await this.page.locator(".tab.active", { hasText: name }).waitFor();
  }

  /** Put the cursor into a line, by its number, and that line into the middle. */
  async goTo(number) {
    await this.page.keyboard.press("Control+g");
    await this.page.locator(".quick-input-widget input[type=text]").first().fill(`:${number}`);
    await this.page.keyboard.press("Enter");
  }

  /** Put the cursor into a word of a line. */
  async clickOn(word, line = word) {
    const { x, y } = await this.placeOf(word, line);
    await this.page.mouse.click(x, y);
  }

  async hoverOver(word, line = word) {
    const { x, y } = await this.placeOf(word, line);
    await this.page.mouse.move(x - 40, y);
    await this.page.mouse.move(x, y, { steps: 5 });
  }

  /** The middle of a word as it is drawn. */
  async placeOf(word, line) {
    await this.line(line).first().waitFor();
    const box = await this.line(line)
      .first()
      .evaluate((drawn, wanted) => {
        const text = drawn.textContent.replaceAll("\u00a0", " ");
        const walker = document.createTreeWalker(drawn, NodeFilter.SHOW_TEXT);
        let before = text.indexOf(wanted) + Math.floor(wanted.length / 2);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
          if (before < node.length) {
            const range = document.createRange();
            range.setStart(node, before);
            range.setEnd(node, before + 1);
            const { x, y, width, height } = range.getBoundingClientRect();
            return { x: x + width / 2, y: y + height / 2 };
          }
          before -= node.length;
        }
        return undefined;
      }, word);
    expect(box, `${word} in ${line}`).toBeTruthy();
    return box;
  }

  /** The quick fixes at the cursor, as the menu lists them. */
  async quickFixes() {
    let titles = [];
    // It closes where the findings are drawn anew under it: a person presses the keys again.
    await expect(async () => {
      if (!(await this.menu.first().isVisible())) {
        await this.page.keyboard.press("Control+.");
      }
      await this.menu.first().waitFor({ timeout: 5000 });
      titles = (await this.menu.allInnerTexts()).map((text) => text.trim());
      expect(titles).not.toEqual([]);
    }).toPass({ timeout: 20_000 });
    return titles;
  }

  async choose(title) {
    await this.menu.filter({ hasText: title }).first().click();
    await this.menu.first().waitFor({ state: "detached" });
  }

  /** Run a command from the palette. */
  async command(title) {
    const palette = this.page.locator(".quick-input-widget");
    const chosen = palette.locator(".monaco-list-row.focused", { hasText: title });
    // The palette lists what there is when it is opened: in a new window not yet what packages bring.
    await expect(async () => {
      await this.page.keyboard.press("Escape");
      await this.page.keyboard.press("F1");
      await palette.locator("input[type=text]").first().fill(`>${title}`);
      await expect(chosen).toBeVisible({ timeout: 2000 });
    }).toPass({ timeout: 20_000 });
    // Not by a click: the rows still move while the list is narrowed.
    await this.page.keyboard.press("Enter");
    await expect(palette).toBeHidden();
  }

  async save() {
    await this.page.keyboard.press("Control+s");
    await this.page.locator(".tab.active:not(.dirty)").waitFor();
  }

  /** A notification that says this; its buttons are in it. */
  notification(text) {
    return this.toasts.filter({ hasText: text }).last();
  }

  async answer(text, button) {
    await this.notification(text).getByRole("button", { name: button, exact: true }).click();
  }

  /** Read a notification and clear it away: only the last few are shown. */
  async dismiss(text) {
    await this.notification(text).hover();
    await this.notification(text).locator(".codicon-notifications-clear").click();
    await expect(this.notification(text)).toHaveCount(0);
  }

  /** What the language's status item says, as its hover shows it. */
  async status() {
    const item = this.page.locator(".statusbar-item[id='status.languageStatus']");
    await item.hover();
    const shown = this.page.locator(".hover-language-status");
    await shown.first().waitFor();
    const said = (await shown.allInnerTexts()).join("\n").replaceAll("\u00a0", " ");
    await this.page.mouse.move(600, 5);
    return said;
  }

  read(name) {
    return fs.readFileSync(path.join(this.folder, name), "utf8");
  }

  async picture(name) {
    const file = path.join(ARTIFACTS, `${name}.png`);
    await this.page.screenshot({ path: file });
    return file;
  }
}
