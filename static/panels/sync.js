import { ApiError, getJson, offline, paths } from '../lib/api.js'
import { announce, confirmDialog, h } from '../lib/dom.js'
import { approximateDuration, formatBytes } from '../lib/format.js'
import { openEvents } from '../lib/sse.js'
import { button, notice } from '../views/notice.js'
import { directions, syncReport } from './sync-report.js'

const pollIntervalMs = 2000
const phases = { list: 'Comparing', transfer: 'Copying', delete: 'Deleting', verify: 'Verifying' }

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
  #bar = h('progress', { max: '1', 'aria-label': 'Progress of the sync' })
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
        check(this.#dryRun, 'Dry run'),
        check(this.#delete, 'Delete files missing from the source')),
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
        ? syncReport(last.report, `Last sync, ${approximateDuration(Date.now() - Date.parse(last.finishedAt))} ago`)
        : h('p', { class: 'empty' }, 'Not synced yet.'))
      this.#showVersions(versions)
      if (active) this.#pollUntilDone()
    } catch (error) {
      this.#last.replaceChildren(notice(error, { dismissible: false }))
    }
  }

  /** Polls a sync that another tab, or the end of a run, has started. */
  #pollUntilDone () {
    this.#last.prepend(h('p', { class: 'loading' }, h('span', { class: 'spinner' }), 'Sync in progress…'))
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => { if (this.element.isConnected) this.shown() }, pollIntervalMs)
  }

  #showVersions (versions) {
    this.#versions.replaceChildren(...versions.length === 0
      ? []
      : [h('h3', {}, 'Versions'), h('ul', { class: 'versions' }, versions.map(({ version, savedAt }) => h('li', {},
          h('span', {}, new Date(savedAt).toLocaleString()),
          button('Restore', () => this.#restore(version, savedAt), { kind: 'small' }))))])
  }

  async #restore (version, savedAt) {
    const confirmed = this.#dryRun.checked || await confirmDialog({
      title: 'Restore this version?',
      text: `Files in the workspace are restored to their state at ${new Date(savedAt).toLocaleString()}.`,
      action: 'Restore'
    })
    if (confirmed) await this.#sync({ direction: 'download', version })
  }

  async #sync (request) {
    const dryRun = this.#dryRun.checked
    this.#syncs++
    this.#problem.replaceChildren()
    this.#setBusy(true)
    this.#figures.textContent = 'Starting…'
    this.#bar.removeAttribute('value')
    try {
      const done = await this.#follow({
        ...request, ...(dryRun && { dryRun }), ...(this.#delete.checked && { delete: true })
      })
      announce(dryRun ? 'The dry run is complete' : 'The sync is complete')
      const title = dryRun ? `Dry run: ${directions[request.direction]}` : 'Synced just now'
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
      phases[phase] ?? phase,
      totalFiles > 0 && `${files} of ${totalFiles} files`,
      totalBytes > 0 && `${formatBytes(done)} of ${formatBytes(totalBytes)}`,
      bytesPerSecond > 0 && `${formatBytes(bytesPerSecond)}/s`
    ].filter(Boolean).join(' · ')
  }

  #setBusy (busy) {
    this.#progress.hidden = !busy
    for (const button of this.element.querySelectorAll('button')) button.disabled = busy
  }
}
