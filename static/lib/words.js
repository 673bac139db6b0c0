import { browserStorage } from './storage.js'

/** There is a file for each in `words/`, and English for everybody else. */
export const languages = ['en', 'de']

/** What the user has chosen; undefined for what the browser is set to. */
export const chosenLanguage = languages.find((language) => language === browserStorage.read('language'))

const baseOf = (locale) => locale.toLowerCase().split('-')[0]

const wanted = navigator.languages.map(baseOf).find((base) => languages.includes(base))

/** The language of the page. */
export const language = chosenLanguage ?? wanted ?? 'en'

/** How numbers and times are written: as in the user's own country, if the page speaks its language. */
export const locale = navigator.languages.find((one) => baseOf(one) === language && isLocale(one)) ?? language

/** Chromium on Linux may name one such as `en-US@posix`, which `Intl` does not take. */
function isLocale (tag) {
  try {
    return Intl.getCanonicalLocales(tag).length > 0
  } catch {
    return false
  }
}

/**
 * Every word that the page says. The service has the browser load the file ahead, with the modules, so that nobody
 * waits for it here; only who has chosen another language than the browser's does, and once.
 * @type {typeof import('../words/en.js').default}
 */
export const { default: words } = await import(`../words/${language}.js`)

Object.assign(document.documentElement, { lang: language, dir: words.dir })

/** Takes effect when the page is loaded again. @param {string | undefined} language undefined for the browser's */
export function chooseLanguage (language) {
  browserStorage.write('language', language)
  location.reload()
}
