import { ApiError, getJson, offline, paths } from '../lib/api.js'
import { announce, h } from '../lib/dom.js'
import { bytes, duration, roughly } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { openEvents } from '../lib/sse.js'
import { button, notice } from '../views/notice.js'

const names = { upload: 'Workspace to S3', download: 'S3 to workspace' }

/** How the workspace and its place in S3 stand to each other, and the way to make them the same. */
export class SyncPanel {
  #sandbox
  #last = h('div')
  #progress = h('div', { class: 'sync-progress', hidden: true })
  #bar = h('progress', { max: '1', 'aria-label': 'Progress of the sync' })
  #figures = h('p', { class: 'muted small' })
  #dryRun = h('input', { type: 'checkbox', id: 'sync-dry-run' })
  #buttons

  constructor (sandbox) {
    this.#sandbox = sandbox
    const { bucket, keyPrefix, readOnly } = sandbox.s3
    const start = (direction, symbol) =>
      button(names[direction], () => this.#sync(direction), { kind: direction === 'upload' ? 'primary' : '', symbol })
    this.#buttons = [...readOnly ? [] : [start('upload', 'upload')], start('download', 'download')]
    this.#progress.append(this.#bar, this.#figures)
    this.element = h('div', { class: 'sync' },
      h('p', {}, h('code', {}, `s3://${bucket}/${keyPrefix ?? ''}`)),
      h('div', { class: 'actions' }, this.#buttons),
      h('div', { class: 'check' }, this.#dryRun, h('label', { for: 'sync-dry-run' }, 'Only show what would be done')),
      this.#progress,
      this.#last)
  }

  async shown () {
    if (!this.#progress.hidden) return
    try {
      const { last, active } = await getJson(paths.sync(this.#sandbox.id))
      this.#last.replaceChildren(last
        ? report(last.report, `Last sync, ${roughly(Date.now() - Date.parse(last.finishedAt))} ago`)
        : h('p', { class: 'empty' }, active ? 'A sync is going on.' : 'Not synced yet.'))
    } catch (error) {
      this.#last.replaceChildren(notice(error, { dismissible: false }))
    }
  }

  async #sync (direction) {
    const dryRun = this.#dryRun.checked
    this.#busy(true)
    this.#figures.textContent = 'Starting…'
    this.#bar.removeAttribute('value')
    try {
      const done = await this.#follow({ direction, ...(dryRun && { dryRun }) })
      announce(dryRun ? 'This is what would be done' : 'The workspace is synced')
      this.#last.replaceChildren(report(done, dryRun ? `What “${names[direction]}” would do` : 'Synced just now'))
    } catch (error) {
      this.#last.replaceChildren(notice(error), error.details?.report ? report(error.details.report, 'What was done') : '')
    } finally {
      this.#busy(false)
    }
  }

  async #follow (json) {
    for await (const { event, data } of openEvents('POST', paths.sync(this.#sandbox.id), { json })) {
      if (event === 'progress') this.#show(data)
      else if (event === 'error') throw new ApiError(data, data.statusCode)
      else if (event === 'report') return data
    }
    throw offline()
  }

  #show ({ phase, files, totalFiles, bytes: done, totalBytes, bytesPerSecond }) {
    if (totalBytes > 0) this.#bar.value = done / totalBytes
    this.#figures.textContent = [
      phase,
      totalFiles > 0 && `${files} of ${totalFiles} files`,
      totalBytes > 0 && `${bytes(done)} of ${bytes(totalBytes)}`,
      bytesPerSecond > 0 && `${bytes(bytesPerSecond)}/s`
    ].filter(Boolean).join(' · ')
  }

  #busy (busy) {
    this.#progress.hidden = !busy
    for (const one of this.#buttons) one.disabled = busy
  }
}

/** @param {{direction, files, bytes, skipped, deleted, durationMs, failed, verified}} done */
function report (done, title) {
  const { direction, files, bytes: size, skipped, deleted, durationMs, failed = [], verified } = done
  return h('section', { class: 'sync-report', 'data-failed': failed.length > 0 },
    h('h3', {}, icon(failed.length > 0 ? 'warning' : 'check'), title),
    h('p', { class: 'muted small' }, names[direction]),
    h('dl', { class: 'facts' }, Object.entries({
      Transferred: `${files} files, ${bytes(size)}`,
      Unchanged: skipped,
      Deleted: deleted,
      Verified: verified ? 'yes' : 'no',
      Took: duration(durationMs)
    }).filter(([, value]) => value !== undefined).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, String(value))))),
    failed.length > 0 && h('ul', { class: 'failures' }, failed.map(({ path, code, message }) =>
      h('li', {}, h('code', {}, path), h('span', { class: 'small' }, message || code)))))
}
