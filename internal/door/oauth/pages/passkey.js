// Signs in with a passkey, or registers one: asks the browser to answer the server's challenge and sends the answer with the form.
"use strict";
(() => {
  const signIn = document.getElementById("sign-in");
  const register = document.getElementById("register");
  const form = signIn || register;
  const button = document.getElementById("use-passkey");
  if (!form || !button || !window.PublicKeyCredential) return;
  button.hidden = false;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  const get = async () => {
    const reply = await fetch(form.dataset.passkey, { method: "POST" });
    if (!reply.ok) throw new Error((await reply.json()).error_description);
    const { id, options } = await reply.json();
    const got = await navigator.credentials.get({ publicKey: { ...options.publicKey, challenge: bytes(options.publicKey.challenge) } });
    form.passkey_id.value = id;
    form.passkey.value = JSON.stringify({
      id: got.id, rawId: text(got.rawId), type: got.type,
      response: {
        authenticatorData: text(got.response.authenticatorData),
        clientDataJSON: text(got.response.clientDataJSON),
        signature: text(got.response.signature),
        userHandle: got.response.userHandle ? text(got.response.userHandle) : null,
      },
    });
    const step = document.createElement("input");
    step.type = "hidden"; step.name = "step"; step.value = "allow";
    form.append(step);
  };

  const create = async () => {
    const wish = JSON.parse(form.dataset.options).publicKey;
    const made = await navigator.credentials.create({ publicKey: {
      ...wish, challenge: bytes(wish.challenge), user: { ...wish.user, id: bytes(wish.user.id) },
      excludeCredentials: (wish.excludeCredentials || []).map((c) => ({ ...c, id: bytes(c.id) })),
    } });
    form.passkey.value = JSON.stringify({
      id: made.id, rawId: text(made.rawId), type: made.type,
      response: {
        attestationObject: text(made.response.attestationObject),
        clientDataJSON: text(made.response.clientDataJSON),
        transports: made.response.getTransports ? made.response.getTransports() : [],
      },
    });
  };

  if (register) document.getElementById("no-passkeys").remove();
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await (register ? create() : get());
      form.submit();
    } catch (problem) {
      button.disabled = false;
      const note = document.createElement("p");
      note.setAttribute("role", "alert");
      note.textContent = "The passkey did not work: " + problem.message;
      form.before(note);
    }
  });
})();
