{{/* The name of everything: the release's, with the chart's if that is not in it. */}}
{{- define "flowmachine.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "flowmachine.selectorLabels" -}}
app.kubernetes.io/name: flowmachine-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The chart's own labels go before those of the values. */}}
{{- define "flowmachine.labels" -}}
{{- $own := include "flowmachine.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "flowmachine" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end -}}

{{- define "flowmachine.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "flowmachine.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Takes [image, appVersion]. */}}
{{- define "flowmachine.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The engines' image: what `engine.image` leaves open is taken from `image`, as long as the repository is the same. */}}
{{- define "flowmachine.engineImage" -}}
{{- $engine := .Values.engine.image -}}
{{- if $engine.repository -}}
{{- include "flowmachine.image" (list $engine .Chart.AppVersion) -}}
{{- else if or $engine.tag $engine.digest -}}
{{- include "flowmachine.image" (list (dict "repository" .Values.image.repository "tag" $engine.tag "digest" $engine.digest) .Chart.AppVersion) -}}
{{- else -}}
{{- include "flowmachine.image" (list .Values.image .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "flowmachine.leaseName" -}}
{{- include "flowmachine.fullname" . -}}
{{- end -}}

{{- define "flowmachine.webhookSecret" -}}
{{- printf "%s-webhook" (include "flowmachine.fullname" . | trunc 55 | trimSuffix "-") -}}
{{- end -}}

{{/* Whether the operator makes the webhook's certificate itself: "true" or nothing. */}}
{{- define "flowmachine.makesCertificate" -}}
{{- if and .Values.webhook.enabled (not .Values.webhook.certManager.enabled) -}}true{{- end -}}
{{- end -}}

{{/* files/rules.yaml, with the names of this release in it. */}}
{{- define "flowmachine.rules" -}}
{{- $text := .Files.Get "files/rules.yaml" -}}
{{- $text = $text | replace "$(LEASE_NAME)" (include "flowmachine.leaseName" .) -}}
{{- $text = $text | replace "$(WEBHOOK_SECRET)" (include "flowmachine.webhookSecret" .) -}}
{{- $text | replace "$(WEBHOOK_CONFIGURATION)" (include "flowmachine.fullname" .) -}}
{{- end -}}

{{- define "flowmachine.subjects" -}}
- kind: ServiceAccount
  name: {{ include "flowmachine.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
