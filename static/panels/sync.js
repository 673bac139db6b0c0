import { ApiError, getJson, offline, paths } from '../lib/api.js'
import { announce, confirmDialog, h } from '../lib/dom.js'
import { approximateDuration, formatBytes, formatDateTime } from '../lib/format.js'
import { openEvents } from '../lib/sse.js'
import { words } from '../lib/words.js'
import { button, notice } from '../views/notice.js'
import { syncReport } from './sync-report.js'

const pollIntervalMs = 2000
const { directions } = words.sync

/** Syncs the workspace with S3, and shows the last sync and the versions to restore. */
export class SyncPanel {
  #sandbox
  #last = h('div')
  #timer
  #problem = h('div')
  /** Syncs started on this page. */
  #syncs = 0
  #versions = h('div')
  #progress = h('div', { class: 'sync-progress', hidden: true })
  #bar = h('progress', { max: '1', 'aria-label': words.sync.progress })
  #figures = h('p', { class: 'muted small' })
  #dryRun = h('input', { type: 'checkbox', id: 'sync-dry-run' })
  #delete = h('input', { type: 'checkbox', id: 'sync-delete' })

  constructor (sandbox) {
    this.#sandbox = sandbox
    const { bucket, keyPrefix } = sandbox.s3
    const start = (direction, symbol) =>
      button(directions[direction], () => this.#sync({ direction }), { kind: direction === 'upload' ? 'primary' : '', symbol })
    const check = (input, label) => h('div', { class: 'check' }, input, h('label', { for: input.id }, label))
    this.#progress.append(this.#bar, this.#figures)
    this.element = h('div', { class: 'sync' },
      h('p', { class: 'place' }, h('code', {}, `s3://${bucket}/${keyPrefix ?? ''}`)),
      h('div', { class: 'actions' }, start('upload', 'upload'), start('download', 'download')),
      h('div', {},
        check(this.#dryRun, words.sync.dryRun),
        check(this.#delete, words.sync.delete)),
      this.#progress,
      this.#problem,
      this.#last,
      this.#versions)
  }

  async shown () {
    if (!this.#progress.hidden) return
    const syncs = this.#syncs
    try {
      const { last, active, versions = [] } = await getJson(paths.sync(this.#sandbox.id))
      // A sync that was started meanwhile shows its own, newer result.
      if (syncs !== this.#syncs) return
      this.#last.replaceChildren(last
        ? syncReport(last.report, words.sync.last(approximateDuration(Date.now() - Date.parse(last.finishedAt))))
        : h('p', { class: 'empty' }, words.sync.never))
      this.#showVersions(versions)
      if (active) this.#pollUntilDone()
    } catch (error) {
      this.#last.replaceChildren(notice(error, { dismissible: false }))
    }
  }

  /** Polls a sync that another tab, or the end of a run, has started. */
  #pollUntilDone () {
    this.#last.prepend(h('p', { class: 'loading' }, h('span', { class: 'spinner' }), words.sync.inProgress))
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => { if (this.element.isConnected) this.shown() }, pollIntervalMs)
  }

  #showVersions (versions) {
    this.#versions.replaceChildren(...versions.length === 0
      ? []
      : [h('h3', {}, words.sync.versions), h('ul', { class: 'versions' }, versions.map(({ version, savedAt }) => h('li', {},
          h('span', {}, formatDateTime(savedAt)),
          button(words.sync.restore, () => this.#restore(version, savedAt), { kind: 'small' }))))])
  }

  async #restore (version, savedAt) {
    const confirmed = this.#dryRun.checked || await confirmDialog({
      title: words.sync.restoreTitle,
      text: words.sync.restoreAbout(formatDateTime(savedAt)),
      action: words.sync.restore
    })
    if (confirmed) await this.#sync({ direction: 'download', version })
  }

  async #sync (request) {
    const dryRun = this.#dryRun.checked
    this.#syncs++
    this.#problem.replaceChildren()
    this.#setBusy(true)
    this.#figures.textContent = words.sync.starting
    this.#bar.removeAttribute('value')
    try {
      const done = await this.#follow({
        ...request, ...(dryRun && { dryRun }), ...(this.#delete.checked && { delete: true })
      })
      announce(dryRun ? words.sync.dryRunComplete : words.sync.complete)
      const title = dryRun ? words.sync.dryRunOf(directions[request.direction]) : words.sync.justNow
      this.#last.replaceChildren(syncReport(done, title))
    } catch (error) {
      this.#problem.replaceChildren(notice(error))
      if (error.details?.report) this.#last.replaceChildren()
    } finally {
      this.#setBusy(false)
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
      words.sync.phases[phase] ?? phase,
      totalFiles > 0 && words.sync.filesOf(files, totalFiles),
      totalBytes > 0 && words.common.ofTotal(formatBytes(done), formatBytes(totalBytes)),
      bytesPerSecond > 0 && words.units.perSecond(formatBytes(bytesPerSecond))
    ].filter(Boolean).join(' · ')
  }

  #setBusy (busy) {
    this.#progress.hidden = !busy
    for (const button of this.element.querySelectorAll('button')) button.disabled = busy
  }
}
