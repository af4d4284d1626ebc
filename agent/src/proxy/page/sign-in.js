'use strict';
// Redeems the token in the fragment, once: it leaves the address and the history before anything else happens.
(function () {
  const el = (id) => document.getElementById(id);
  const base = document.body.dataset.base;
  const here = location.pathname.endsWith('/_space/sign-in');
  const token = here ? location.hash.slice(1) : '';
  const to = here ? new URLSearchParams(location.search).get('to') || '' : location.pathname + location.search + location.hash;
  if (token) history.replaceState(null, '', location.pathname + location.search);
  el('to').value = to;
  el('refused').hidden = !el('why').textContent;

  // To the same address, a navigation may be none: its fragment alone loads nothing.
  const go = (where) => { if (here) location.replace(where); else location.reload(); };

  function refuse(why) {
    el('why').textContent = why.charAt(0).toUpperCase() + why.slice(1);
    el('refused').hidden = false;
    el('title').textContent = 'Sign in';
    el('enter').disabled = false;
    el('token').focus();
  }

  // A link that was used by this very browser: it is in already.
  function already(why) {
    return fetch(base + '_space/', { method: 'HEAD', cache: 'no-store' }).then((answer) => {
      if (answer.ok) go(base); else refuse(why);
    });
  }

  function redeem(text) {
    el('enter').disabled = true;
    el('title').textContent = 'Signing in';
    fetch(base + '_space/sign-in', {
      method: 'POST', cache: 'no-store',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify({ token: text, to: to }),
    }).then((answer) => answer.ok
      ? answer.json().then((where) => go(where.to))
      : answer.text().then((why) => already(why.trim()))
    ).catch(() => refuse('the space cannot be reached just now'));
  }

  el('form').addEventListener('submit', (event) => { event.preventDefault(); redeem(el('token').value); });
  if (token) redeem(token); else el('token').focus();
})();
