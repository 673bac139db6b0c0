import { ApiError, getJson, paths, send } from './lib/api.js'
import { notifyButton, setPlace } from './lib/attention.js'
import { h } from './lib/dom.js'
import { icon } from './lib/icons.js'
import { onShortcut, showShortcuts } from './lib/keys.js'
import { languageChoice } from './lib/language-choice.js'
import { chatHash, readHash } from './lib/routes.js'
import { browserStorage } from './lib/storage.js'
import { themeButton } from './lib/theme.js'
import { words } from './lib/words.js'
import { button, notice } from './views/notice.js'
import { lastSpec } from './views/specs.js'

/** The views are loaded when they are needed. The page has browsers fetch those ahead that may come first. */
const views = {
  signIn: () => import('./views/sign-in.js'),
  start: () => import('./views/start.js'),
  chat: () => import('./views/chat.js'),
  ended: () => import('./views/ended.js'),
  progress: () => import('./views/progress.js'),
  createForm: () => import('./views/create-form.js')
}
/** When the rest of the page is loaded: the first view is there by then, also over a slow network. */
const restDelayMs = 3000

/** Where there is room for the list of conversations beside the view, as in styles/rail.css. */
const railBeside = '(min-width: 75rem)'

const main = document.getElementById('main')
/** The chats of this page by sandbox id; they are kept while another view is shown. */
const chats = new Map()
let status
let view
/** The list of conversations, which is loaded after the first view. */
let rail

window.addEventListener('hashchange', route)
document.querySelector('.brand').addEventListener('click', (event) => {
  event.preventDefault()
  go('')
})
document.querySelector('.skip').addEventListener('click', (event) => {
  // Following the link would replace the hash, which is the route.
  event.preventDefault()
  main.focus()
})
document.addEventListener('keydown', onShortcut({ '?': showShortcuts, 'Ctrl Shift L': searchConversations }))
// Otherwise the browser would leave the page for a file that is dropped beside the places that take files.
for (const kind of ['dragover', 'drop']) {
  window.addEventListener(kind, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    event.dataTransfer.dropEffect = 'none'
  })
}
document.querySelector('.skip').textContent = words.page.skip
document.getElementById('rail').setAttribute('aria-label', words.page.conversations)
document.getElementById('settings').append(notifyButton(), themeButton(), languageChoice(), h('button', {
  type: 'button',
  class: 'quiet shortcuts-button',
  'aria-label': words.page.keyboardShortcuts,
  title: words.page.keyboardShortcutsWithKey,
  onclick: showShortcuts
}, icon('keyboard')))
document.addEventListener('signed-out', () => {
  if (status?.account) start({ message: words.signIn.signedOut, hint: words.signIn.signedOutHint })
})
start()
setTimeout(() => { for (const load of Object.values(views)) load().catch(() => {}) }, restDelayMs)

/** Loads the service's status and shows either the sign-in form or the view of the current route. */
async function start (problem) {
  try {
    problem = await redeemLink() ?? problem
    status = await getJson(paths.status)
  } catch (error) {
    return showProblem(error, button(words.common.tryAgain, () => start()))
  }
  showHeader()
  if (status.account) {
    document.body.dataset.rail = browserStorage.read('rail', true) ? 'open' : 'closed'
    await route()
    return window.matchMedia(railBeside).matches ? await startRail() : setTimeout(startRail, restDelayMs)
  }
  open('signIn', ({ SignInView }) => new SignInView({ local: status.backend === 'local', problem, onSignedIn: () => start() }))
}

/** The sign-in link has its code behind the `#`, where no server and no log can see it. */
async function redeemLink () {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1]
  if (code === undefined) return
  history.replaceState(null, '', location.pathname + location.search)
  try {
    const { signIn } = await load('signIn')
    await signIn(decodeURIComponent(code))
  } catch (error) {
    if (error.transient) throw error
    return { message: words.signIn.linkUsed, hint: words.signIn.linkUsedHint }
  }
}

/** Shows what the address says, so that reload, links and the back button work. */
async function route () {
  if (location.hash.startsWith('#code=')) return start()
  if (!status?.account) return
  const { sandboxId: id, place } = readHash(location.hash)
  if (id === undefined) {
    return open('start', ({ StartView }) => new StartView({ newSandbox, onOptions: () => showCreateForm(), openSandbox }))
  }
  const chat = chats.get(id)
  // Of a sandbox that has ended only the conversation is left that was shown at its end.
  if (chat && !(chat.ended && place !== undefined && place !== chat.place)) {
    show(chat)
    return await chat.go(place)
  }
  show({ full: true, element: h('p', { class: 'loading' }, h('span', { class: 'spinner' }), words.page.openingSandbox) })
  try {
    const [sandbox] = await Promise.all([getJson(paths.sandbox(id)), load('chat')])
    if (sandbox.status !== 'running') return await showEnded(id, { sandbox, place })
    const chat = chats.get(id) ?? await openChat(sandbox, place)
    if (readHash(location.hash).sandboxId === id) show(chat)
  } catch (error) {
    if (error.sandboxEnded) return await showEnded(id, { place, error })
    const create = button(words.common.newSandbox, () => newSandbox(), { kind: 'primary', symbol: 'plus' })
    showProblem(error, create, button(words.common.allSandboxes, () => go('')))
  }
}

/** A sandbox that has ended, of which Modal may know nothing any more. */
async function showEnded (id, { sandbox, place, error }) {
  await open('ended', ({ EndedView }) => new EndedView({
    id, sandbox, place, error, account: status.account, newSandbox, onBack: () => go('')
  }))
}

/** Loads a view and shows it, unless another one was shown meanwhile. */
async function open (name, create) {
  const previous = view
  try {
    const module = await load(name)
    if (view === previous) show(create(module))
  } catch (error) {
    showProblem(error, button(words.common.reload, () => location.reload()))
  }
}

/** @throws ApiError when a part of the page is gone: the service was updated after the page was loaded */
async function load (name) {
  try {
    return await views[name]()
  } catch {
    throw new ApiError({ message: words.page.partMissing, hint: words.page.partMissingHint })
  }
}

function showProblem (error, ...actions) {
  show({ element: h('div', { class: 'card narrow' }, notice(error, { dismissible: false, actions })) })
}

async function openChat (sandbox, place) {
  const { ChatView } = await load('chat')
  const chat = new ChatView(sandbox, {
    scripted: status.model === 'scripted',
    place,
    newSandbox,
    goTo: (next) => go(chatHash(sandbox.id, next)),
    onPlace: () => showPlace(chat)
  })
  chats.set(sandbox.id, chat)
  return chat
}

/** The address follows what a chat shows. */
function showPlace (chat) {
  if (view !== chat) return
  const hash = chatHash(chat.sandbox.id, chat.place)
  if (location.hash !== hash) history.replaceState(null, '', location.pathname + location.search + hash)
  rail?.setCurrent(chat)
}

/** @param {string} [place] the conversation to go on with */
function newSandbox (spec = lastSpec(), place) {
  open('progress', ({ ProgressView }) => new ProgressView({
    spec,
    onCreated: async (sandbox) => {
      const chat = await openChat(sandbox, place)
      chat.warn(sandbox.warnings)
      go(chatHash(sandbox.id, place))
      rail?.refresh()
    },
    onEdit: (problem) => showCreateForm({ spec, problem }),
    onBack: () => go('')
  }))
}

function showCreateForm ({ spec, problem } = {}) {
  open('createForm', ({ CreateForm }) => new CreateForm({ spec, problem, onCreate: newSandbox, onBack: () => go('') }))
}

function openSandbox (id) {
  go(chatHash(id))
}

function go (hash) {
  if (location.hash === hash) return route()
  history.pushState(null, '', location.pathname + location.search + hash)
  route()
}

function show (next) {
  if (view === next) return
  const previous = view
  view?.hidden?.()
  // A chat lasts until the page is closed; other views are closed when they are replaced.
  if (!chats.has(view?.sandbox?.id)) view?.close?.()
  view = next
  main.replaceChildren(next.element)
  document.getElementById('bar').replaceChildren(next.bar?.element ?? '')
  main.classList.toggle('full', next.full === true)
  setPlace(next.title ?? '')
  next.shown?.()
  rail?.setCurrent(next.current ?? next)
  // Keyboard users continue at the top of the new view.
  if (previous && document.activeElement === document.body) main.focus()
}

/** The page is of use without it: a rail that cannot be loaded is not told. */
async function startRail () {
  const module = await import('./rail/rail.js').catch(() => undefined)
  if (module === undefined || !status.account) return
  if (rail === undefined) {
    rail = new module.Rail({ account: status.account, go, beside: railBeside })
    if (view) rail.setCurrent(view.current ?? view)
  }
}

async function searchConversations () {
  await startRail()
  rail?.search()
}

async function toggleRail () {
  await startRail()
  rail?.toggle()
}

function showHeader () {
  const { backend, model, account } = status
  document.getElementById('badges').replaceChildren(
    backend === 'local' ? h('span', { class: 'badge', title: words.page.localModeMeans }, words.page.localMode) : '',
    model === 'scripted'
      ? h('span', { class: 'badge demo', title: words.page.scriptedMeans },
        icon('warning'), h('span', {}, words.page.scripted))
      : '')
  document.getElementById('rail-button').replaceChildren(account
    ? h('button', {
      type: 'button', class: 'quiet', 'aria-label': words.page.conversations, title: words.page.conversations, onclick: toggleRail
    }, icon('sidebar'))
    : '')
  document.getElementById('account').replaceChildren(...account
    ? [h('span', { class: 'muted account-name', title: words.page.account }, account), button(words.page.signOut, signOut, { kind: 'small' })]
    : [])
}

async function signOut () {
  try {
    await send('DELETE', paths.session)
  } catch (error) {
    return main.prepend(notice(error))
  }
  rail?.close()
  rail = undefined
  delete document.body.dataset.rail
  browserStorage.clear('known.')
  for (const chat of chats.values()) chat.close()
  chats.clear()
  view = undefined
  history.replaceState(null, '', location.pathname)
  await start()
}
